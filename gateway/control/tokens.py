"""JSON web tokens (RFC 7519), as access tokens of RFC 9068 with the precautions of RFC 8725.

A token is valid if a key that is known here signed it with that key's algorithm, if it comes from the one issuer and is
meant for this audience, and for so long as it says itself, within a bound of our own. Its header chooses among the
known keys by `kid`, and nothing else: `jku`, `x5u`, `jwk` and `x5c` are not looked at, and a token with `crit` is
refused.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jwt

from gateway.control.claims import principal_of
from gateway.control.signing_keys import ALGORITHMS, SigningKey, fitting
from gateway.core.errors import Unauthenticated
from gateway.core.principal import Principal

REMEMBERED_S = 60.0
MOST_REMEMBERED = 10_000
_REQUIRED = ["exp", "iss", "aud", "sub"]
_TYPES = ("", "jwt", "at+jwt", "application/at+jwt")  # a token for something else, as of a logout, is none for us
_OPTIONS: Any = {"require": _REQUIRED, "enforce_minimum_key_length": True}
# By the errors of PyJWT, the narrower first: what is wrong, in a word and in words.
_WRONG: Sequence[tuple[type[jwt.PyJWTError], str, str]] = (
    (jwt.ExpiredSignatureError, "expired", "the token has expired: get a new one"),
    (jwt.ImmatureSignatureError, "not_yet", "the token is not valid yet; do the clocks agree?"),
    (jwt.InvalidAudienceError, "audience", "the token is for another audience (aud)"),
    (jwt.InvalidIssuerError, "issuer", "the token is of another issuer (iss)"),
    (jwt.MissingRequiredClaimError, "claims", "the token lacks a claim: it must have exp, iss, aud and sub"),
    (jwt.InvalidSignatureError, "signature", "the token's signature is wrong"),
    (jwt.PyJWTError, "malformed", "the token cannot be read"),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Which tokens are valid.

    Attributes:
        max_age_s: how long a token may be valid, and how old it may be if it says so (`iat`), in seconds.
        leeway_s: by how much clocks may differ, in seconds.
    """

    issuer: str
    audience: str
    max_age_s: float
    leeway_s: float


class KeySource(Protocol):
    """Where the keys come from."""

    @property
    def generation(self) -> int:
        """A number that changes when the keys do."""
        ...

    async def find(self, kid: str | None, algorithm: str) -> Sequence[SigningKey]:
        """The keys that may have signed a token, by what its header says.

        Raises:
            Refused: the keys are not known now.
        """
        ...


class FixedKeys:
    """Keys from a file; what a token's header calls its key does not matter."""

    generation = 0

    def __init__(self, keys: Sequence[SigningKey]) -> None:
        self._keys = {str(number): key for number, key in enumerate(keys)}

    async def find(self, kid: str | None, algorithm: str) -> Sequence[SigningKey]:
        """Those of the algorithm."""
        return fitting(self._keys, None, algorithm)


class _Verified(NamedTuple):
    principal: Principal
    generation: int
    until_s: float


class Tokens:
    """Verifies tokens; each that was found valid is remembered for a minute, so that a request costs little.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, rules: Rules, keys: KeySource, clock: Callable[[], float]) -> None:
        self._rules, self._keys, self._clock = rules, keys, clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def principal(self, token: str) -> Principal:
        """Who a token is of.

        Raises:
            Unauthenticated: it is not valid.
            Refused: the keys are not known now.
        """
        digest, now = hashlib.sha256(token.encode()).digest(), self._clock()
        known = self._verified.get(digest)
        if known is not None and known.generation == self._keys.generation and now < known.until_s:
            return known.principal
        claims = await self._claims(token)
        check_age(claims, now, self._rules)
        principal = principal_of(claims)
        until_s = min(now + REMEMBERED_S, float(claims["exp"]) + self._rules.leeway_s)
        self._remember(digest, _Verified(principal, self._keys.generation, until_s))
        return principal

    async def _claims(self, token: str) -> dict[str, Any]:
        header = read_header(token)
        keys = await self._keys.find(header.get("kid"), header["alg"])
        if not keys:
            raise Unauthenticated("the token is signed with a key that is not known here", reason="unknown_key")
        for key in keys[:-1]:
            try:
                return verified(token, key, self._rules)
            except Unauthenticated as error:
                if error.reason != "signature":
                    raise
        return verified(token, keys[-1], self._rules)

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._verified.pop(digest, None)
        self._verified[digest] = verified
        if len(self._verified) > MOST_REMEMBERED:
            self._verified.popitem(last=False)


def read_header(token: str) -> dict[str, Any]:
    """The header of a token: `alg` is one that can be verified here, `kid` a text if it is there.

    Raises:
        Unauthenticated: it cannot be read, or asks for what is not understood.
    """
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise Unauthenticated("the token is neither a JSON web token nor an API key", reason="malformed") from None
    if header.get("alg") not in ALGORITHMS:
        detail = f"the token is not signed with one of {', '.join(ALGORITHMS)}"
        raise Unauthenticated(detail, reason="algorithm")
    if "crit" in header or str(header.get("typ", "")).lower() not in _TYPES:
        raise Unauthenticated("the token's header asks for what is not understood (crit, typ)", reason="malformed")
    return header


def verified(token: str, key: SigningKey, rules: Rules) -> dict[str, Any]:
    """The claims of a token that this key signed.

    Raises:
        Unauthenticated: it did not, or the token is not valid (any more).
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            options=_OPTIONS,
            audience=rules.audience,
            issuer=rules.issuer,
            leeway=rules.leeway_s,
        )
        return claims
    except jwt.PyJWTError as error:
        reason, detail = next((reason, detail) for kind, reason, detail in _WRONG if isinstance(error, kind))
        raise Unauthenticated(detail, reason=reason) from None


def check_age(claims: dict[str, Any], now_s: float, rules: Rules) -> None:
    """Refuse a token that is valid for longer than is allowed, or too old.

    Raises:
        Unauthenticated: it is.
    """
    most = rules.max_age_s + rules.leeway_s
    if float(claims["exp"]) - now_s > most or now_s - float(claims.get("iat", now_s)) > most:
        detail = f"the token is valid for longer, or older, than the {rules.max_age_s:g} s that JWT_MAX_AGE_S allows"
        raise Unauthenticated(detail, reason="age")
