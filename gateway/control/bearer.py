"""The Authorization header, `Bearer …` (RFC 6750, section 2.1). Pure."""

from __future__ import annotations

import re

from gateway.core.errors import Unauthenticated

LONGEST = 4096
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


def token_of(authorization: str | None) -> str:
    """The token of an Authorization header.

    Raises:
        Unauthenticated: there is none, or it is no token.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        detail = "it must be known who asks: send 'Authorization: Bearer …' with a token or an API key"
        raise Unauthenticated(detail, "", "missing")
    if len(token) > LONGEST:
        detail = f"the token in the Authorization header has {len(token)} characters; it may have {LONGEST}"
        raise Unauthenticated(detail, "invalid_request", "too_large")
    token = token.strip(" ")
    if not _TOKEN.fullmatch(token):
        detail = "the Authorization header is not 'Bearer', a space, and one token or API key; it may be sent only once"
        raise Unauthenticated(detail, "invalid_request", "malformed")
    return token
