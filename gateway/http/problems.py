"""Errors as `application/problem+json` (RFC 9457): the only place that turns the core's errors into responses.

Handlers let the core's errors pass and raise `ProblemError` for errors of HTTP itself; the middleware renders both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from gateway.core.errors import (
    Conflict,
    CoreError,
    FieldErrors,
    IdempotencyConflict,
    InvalidOrder,
    LimitReached,
    NotAllowed,
    NotReplayable,
    Outdated,
    RedactionFailed,
    Refused,
    Unauthenticated,
    UnknownApiKey,
    UnknownDeadLetter,
    UnknownErasure,
    UnknownExperiment,
    UnknownModel,
    UnknownPrediction,
)
from gateway.core.retry_after import STORE_UNAVAILABLE_S
from gateway.http.rate_limits import rate_limit_headers
from shared.contract.errors import StoreUnavailable
from shared.contract.options import describe_invalid_text

TITLES = {
    400: "Malformed request",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Invalid field",
    428: "Precondition required",
    429: "Too many requests",
    500: "Prediction failed",
    503: "Service unavailable",
    504: "Not in time",
}

MOST_ERRORS_TOLD = 20

_CORE_ERRORS: dict[type[CoreError], tuple[int, str]] = {
    UnknownPrediction: (404, "unknown-prediction"),
    UnknownExperiment: (404, "unknown-experiment"),
    UnknownDeadLetter: (404, "unknown-dead-letter"),
    UnknownApiKey: (404, "unknown-api-key"),
    UnknownErasure: (404, "unknown-erasure"),
    NotReplayable: (409, "not-replayable"),
    IdempotencyConflict: (409, "idempotency-conflict"),
    RedactionFailed: (500, "redaction-failed"),
}
_STORES = {
    "redis": ("queue-unavailable", "the queue is unavailable; try again"),
    "postgres": ("store-unavailable", "stored predictions are unavailable; try again"),
}


class FieldError(BaseModel):
    """What is wrong with one field."""

    loc: list[str | int] = Field(description="place: body, query or header, then the field")
    msg: str = Field(description="what is wrong with it")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(description="what kind of error this is: always the same for the same kind")
    title: str = Field(description="of the status, in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what is wrong and what to do")
    errors: list[FieldError] | None = Field(None, description="the invalid fields")
    prediction_id: UUID | None = Field(None, description="the prediction that this error concerns")
    prediction_ids: list[UUID] | None = Field(None, description="of a request for several: all of them, in its order")


class ProblemError(Exception):
    """An error response.

    Attributes:
        status: HTTP status code.
        kind: a short name, the last part of the problem's `type`.
        detail: what is wrong and what to do, for the client.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        errors: FieldErrors = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.extra = extra or {}

    def response(self) -> web.Response:
        """Render it."""
        body: dict[str, Any] = {
            "type": f"urn:millstream:problem:{self.kind}",
            "title": TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }
        if self.errors:
            body["errors"] = [{"loc": list(loc), "msg": msg} for loc, msg in self.errors]
        return web.Response(
            status=self.status,
            body=orjson.dumps(body, default=str),
            content_type="application/problem+json",
            headers=self.headers,
        )


Dialect = Callable[[ProblemError], ProblemError]  # adds what the clients of one protocol look for in an error


def invalid(errors: FieldErrors) -> ProblemError:
    """422: invalid fields."""
    detail = "; ".join(f"{'.'.join(map(str, loc))}: {msg}" for loc, msg in errors)
    return ProblemError(422, "invalid-field", detail[:2000], errors=errors)


def invalid_fields(place: str, error: ValidationError) -> ProblemError:
    """422 from pydantic's errors about the `body` or the `query`. Values are left out, since inputs are private."""
    found = error.errors(include_url=False, include_input=False)
    return invalid(
        [
            ((place, *map(_shortened, each["loc"])), describe_invalid_text(dict(each)))
            for each in found[:MOST_ERRORS_TOLD]
        ]
    )


def _shortened(name: str | int) -> str | int:
    """A name that the client may have chosen."""
    return name[:100] if isinstance(name, str) else name


def unavailable(kind: str, detail: str, retry_after_s: int) -> ProblemError:
    """503, with Retry-After."""
    return ProblemError(503, kind, detail, headers={"Retry-After": str(retry_after_s)})


def of_core_error(error: CoreError) -> ProblemError:
    """The response to an error of the core."""
    if isinstance(error, InvalidOrder):
        return invalid(error.errors)
    if isinstance(error, Refused):
        return unavailable(error.reason, str(error), error.retry_after_s)
    if isinstance(error, LimitReached):
        retry = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        headers = {**rate_limit_headers(error.rates, error.counts), **retry}
        return ProblemError(429, f"limit-{error.limit.replace('_', '-')}", str(error), headers=headers)
    if isinstance(error, Unauthenticated | NotAllowed):
        return _of_access(error)
    if isinstance(error, Conflict):
        return ProblemError(409, error.kind, str(error))
    if isinstance(error, Outdated):
        return ProblemError(412, "outdated", str(error), headers={"ETag": f'"{error.generation}"'})
    if isinstance(error, UnknownModel):
        return ProblemError(404, f"unknown-{error.missing}", str(error))
    status, kind = _CORE_ERRORS[type(error)]
    return ProblemError(status, kind, str(error))


def _of_access(error: Unauthenticated | NotAllowed) -> ProblemError:
    """400, 401 or 403, with a challenge as in RFC 6750, section 3."""
    if isinstance(error, NotAllowed):
        challenge = f'Bearer error="insufficient_scope", scope="{" ".join(error.scopes)}"'
        return ProblemError(403, "insufficient-scope", str(error), headers={"WWW-Authenticate": challenge})
    challenge = f'Bearer error="{error.code}"' if error.code else "Bearer"
    kind = error.code.replace("_", "-") or "unauthenticated"
    status = 400 if error.code == "invalid_request" else 401
    return ProblemError(status, kind, str(error), headers={"WWW-Authenticate": challenge})


def of_store_error(error: StoreUnavailable) -> ProblemError:
    """The response if a store is unavailable."""
    kind, detail = _STORES[error.store]
    return unavailable(kind, detail, STORE_UNAVAILABLE_S)


def of_http_error(error: web.HTTPException, max_body_bytes: int) -> ProblemError:
    """The response to an error of aiohttp (no such route, wrong method, body too large)."""
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    details = {
        404: "nothing exists at this path; see /docs",
        405: f"this path allows {error.headers.get('Allow', 'other methods')}",
        413: f"the body is larger than {max_body_bytes} bytes; send less, or split it into several requests",
    }
    detail = details.get(error.status, error.reason)
    return ProblemError(error.status, (error.reason or "error").lower().replace(" ", "-"), detail, headers=headers)
