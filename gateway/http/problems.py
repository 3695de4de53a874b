"""Errors as `application/problem+json` (RFC 9457). Handlers raise `ProblemError`; the edge renders it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from shared.contract.options import NO_NUL

TITLES = {
    400: "Malformed request",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid field",
    500: "Prediction failed",
    503: "Service unavailable",
    504: "Deadline passed",
}

FieldErrors = Sequence[tuple[Sequence[str | int], str]]


class ProblemError(Exception):
    """An answer that is an error.

    Attributes:
        status: HTTP status code.
        kind: a short name, the end of the problem's `type`.
        detail: what is wrong and what to do, for the person who sent the request.
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


def invalid(errors: FieldErrors) -> ProblemError:
    """422: fields that are wrong."""
    detail = "; ".join(f"{'.'.join(map(str, loc))}: {msg}" for loc, msg in errors)
    return ProblemError(422, "invalid-field", detail[:2000], errors=errors)


def invalid_body(error: ValidationError) -> ProblemError:
    """422 from pydantic's errors. Values are left out: an answer is logged by proxies, and inputs are private."""
    found = error.errors(include_url=False, include_input=False)
    return invalid([(("body", *each["loc"]), _message(dict(each))) for each in found[:20]])


def unavailable(kind: str, detail: str, retry_after_s: int) -> ProblemError:
    """503 with Retry-After."""
    return ProblemError(503, kind, detail, headers={"Retry-After": str(retry_after_s)})


def of_http_error(error: web.HTTPException, max_body_bytes: int) -> ProblemError:
    """aiohttp's own errors (no such route, wrong method, body too large) in our form."""
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    details = {
        404: "there is nothing at this path; see /docs",
        405: f"this path takes {error.headers.get('Allow', 'other methods')}",
        413: f"the body is longer than {max_body_bytes} bytes; send less, or several requests",
    }
    detail = details.get(error.status, error.reason)
    return ProblemError(error.status, (error.reason or "error").lower().replace(" ", "-"), detail, headers=headers)


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] == NO_NUL:
        return "must not contain NUL characters (U+0000)"
    if error["type"] == "string_unicode":
        return "must be valid Unicode: it contains a lone surrogate"
    return str(error["msg"])
