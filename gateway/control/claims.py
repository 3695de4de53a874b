"""Who asks, and what they may do, as the claims of a verified token say. Pure.

`sub` and `iss` make the opaque id. `scope` is a text of scopes, separated by spaces (RFC 8693, section 4.2; RFC 9068);
those that are not Millstream's are not looked at. `models` (a list of patterns) and `tenant` are claims of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.errors import Unauthenticated
from gateway.core.principal import Principal, Scope
from shared.contract.ids import principal_id

LONGEST_SUBJECT = 255  # as OpenID Connect has it
LONGEST_TENANT = 100
LONGEST_PATTERN = 100
MOST_PATTERNS = 50
_SCOPES = {each.value: each for each in Scope}


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """The principal that a token is of.

    Raises:
        Unauthenticated: a claim is not as it should be. None is guessed: that might give more than was meant.
    """
    subject, scope = claims["sub"], claims.get("scope", "")
    models, tenant = claims.get("models", ["*"]), claims.get("tenant", "")
    if not _is_text(subject, LONGEST_SUBJECT) or not subject:
        raise _wrong("sub", f"a text of 1 to {LONGEST_SUBJECT} characters")
    if not isinstance(scope, str):
        raise _wrong("scope", "scopes separated by spaces")
    if not _is_text(tenant, LONGEST_TENANT):
        raise _wrong("tenant", f"a text of at most {LONGEST_TENANT} characters")
    if not isinstance(models, list) or len(models) > MOST_PATTERNS or not all(map(_is_pattern, models)):
        raise _wrong("models", f"a list of at most {MOST_PATTERNS} patterns of at most {LONGEST_PATTERN} characters")
    scopes = frozenset(_SCOPES[each] for each in scope.split(" ") if each in _SCOPES)
    return Principal(principal_id(claims["iss"], subject), scopes, tuple(models), tenant)


def _is_text(value: object, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest and "\0" not in value


def _is_pattern(value: object) -> bool:
    return _is_text(value, LONGEST_PATTERN) and value != ""


def _wrong(claim: str, wanted: str) -> Unauthenticated:
    return Unauthenticated(f"the token's claim {claim} is not {wanted}", reason="claims")
