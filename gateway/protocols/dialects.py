"""Errors as the clients of each protocol read them: RFC 9457's fields, and the client's own beside them. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from gateway.http.problems import Problem, ProblemError

# Clients of OpenAI's send again what ended with 408, 409, 429 or 5xx, unless they are told not to.
_POINTLESS = (409, 500, 501, 504)
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_UNKNOWN_MODEL = ("unknown-model", "unknown-version")


class V2Problem(Problem):
    """An error, as clients of the Open Inference Protocol read it."""

    error: str = Field(description="`detail` again")


class OpenAIError(BaseModel):
    """An error, as OpenAI tells it."""

    message: str = Field(description="what is wrong and what to do")
    type: str = Field(description="the kind of error, as OpenAI names it")
    param: str | None = Field(description="the field that is wrong; null: none")
    code: str | None = Field(description="the kind of error, more exactly")


class OpenAIProblem(Problem):
    """An error, as clients of OpenAI read it."""

    error: OpenAIError = Field(description="the error once more, as OpenAI tells it")


class HuggingFaceProblem(Problem):
    """An error, as clients of Hugging Face and of Text Embeddings Inference read it."""

    error: str = Field(description="`detail` again")
    error_type: str = Field(description="Validation, Overloaded, Backend or Unhealthy")


def v2(problem: ProblemError) -> ProblemError:
    """With `error`."""
    return _with(problem, error=problem.detail)


def openai(problem: ProblemError) -> ProblemError:
    """With `error` as OpenAI's."""
    kind = "server_error" if problem.status >= 500 else _OPENAI_TYPES.get(problem.status, "invalid_request_error")
    code = "model_not_found" if problem.kind in _UNKNOWN_MODEL else problem.kind.replace("-", "_")
    place = problem.errors[0][0] if problem.errors else ("body", "model") if problem.kind in _UNKNOWN_MODEL else ()
    param = ".".join(map(str, place[1:])) or None
    return _with(problem, error={"message": problem.detail, "type": kind, "param": param, "code": code})


def hugging_face(problem: ProblemError) -> ProblemError:
    """With `error` and `error_type`."""
    if problem.kind == "not-ready":
        kind = "Unhealthy"
    elif problem.status in (429, 503):
        kind = "Overloaded"
    else:
        kind = "Backend" if problem.status >= 500 else "Validation"
    return _with(problem, error=problem.detail, error_type=kind)


def _with(problem: ProblemError, **fields: Any) -> ProblemError:
    pointless = problem.status in _POINTLESS or (problem.status == 429 and "Retry-After" not in problem.headers)
    return ProblemError(
        problem.status,
        problem.kind,
        problem.detail,
        errors=problem.errors,
        headers={**problem.headers, **({"x-should-retry": "false"} if pointless else {})},
        extra={**problem.extra, **fields},
    )


DIALECTS_BY_PATH = {"v2": v2, "v1": openai, "hf": hugging_face}  # by the first part of the path
