"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header): a request repeated with its key makes nothing
new. The same key and body stand for the same prediction, also while it runs, for a day; another body is a conflict.
Keys are scoped to the caller. Pure."""

from __future__ import annotations

import hashlib
import re

from pydantic import BaseModel

from gateway.http.problems import invalid

MAX_CHARS = 255
PATTERN = '^(?!""$)[!-~]+$'  # what the document promises to take; a quoted key may hold a little more
_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")


def key_of(header: str | None) -> str:
    """The key of a request; '' where it has none.

    The draft makes it a quoted string (RFC 9651); the bare form, which most clients send, is taken too.

    Raises:
        ProblemError: 422 where it is empty, too long, or has other than visible ASCII characters.
    """
    if header is None:
        return ""
    text = header.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not _VISIBLE.fullmatch(text):
        raise invalid([(("header", "Idempotency-Key"), f"must have 1 to {MAX_CHARS} visible ASCII characters")])
    return text


def fingerprint(endpoint: str, body: BaseModel) -> str:
    """A digest of what a request asks for: two requests with one key must agree in it."""
    return hashlib.sha256(f"{endpoint}\n{body.model_dump_json()}".encode()).hexdigest()
