"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header): repeating a request with its key creates
nothing new. For IDEMPOTENCY_TTL_S the same key and body mean the same prediction, even while it is running; another
body is a conflict. Keys are scoped to the caller. Pure."""

from __future__ import annotations

import hashlib
import re

from pydantic import BaseModel

from gateway.http.problems import invalid

MAX_CHARS = 255
PATTERN = '^(?!""$)[!-~]+$'  # what the OpenAPI document allows; quoted keys may contain a little more
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")


def key_of(header: str | None) -> str:
    """The key of a request; '' if it has none.

    In the draft it is a quoted string (RFC 9651); the bare form, which most clients send, is accepted too.

    Raises:
        ProblemError: 422 if it is empty, too long, or contains other than visible ASCII characters.
    """
    if header is None:
        return ""
    text = header.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not _VISIBLE.fullmatch(text):
        raise invalid([(("header", "Idempotency-Key"), f"must be 1 to {MAX_CHARS} visible ASCII characters")])
    return text


def fingerprint(endpoint: str, body: BaseModel) -> str:
    """A digest of a request: requests with the same key must have the same one."""
    return hashlib.sha256(f"{endpoint}\n{body.model_dump_json()}".encode()).hexdigest()
