"""Verified tokens are remembered briefly; keys are read from sets, of which what cannot be used is left out."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from gateway.control import tokens
from gateway.control.signing_keys import fitting, read_hmac_key, read_key_set, read_public_keys
from gateway.control.tokens import FixedKeys, Rules, Tokens
from gateway.core.errors import Unauthenticated
from tests.tokens import AUDIENCE, ISSUER, ec_key, public_jwk, public_pem, rsa_key, token

SECRET = b"0123456789abcdef0123456789abcdef"
RSA, EC = rsa_key(), ec_key()


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were verified, in order."""
    found: list[str] = []
    real = tokens.verified

    def noting(token: str, *rest: Any) -> Any:
        found.append(token)
        return real(token, *rest)

    monkeypatch.setattr(tokens, "verified", noting)
    return found


def verifier(clock: Clock, leeway_s: float = 0) -> tuple[Tokens, FixedKeys]:
    keys = FixedKeys([read_hmac_key(SECRET)])
    return Tokens(Rules(ISSUER, AUDIENCE, 86_400, leeway_s), keys, clock), keys


async def test_a_token_is_verified_once_a_minute(verified: list[str]) -> None:
    clock, sent = Clock(), token(SECRET)
    verifies, _ = verifier(clock)
    for after_s, times in ((0, 1), (30, 1), (59, 1), (1.1, 2)):
        clock.now += after_s if after_s != 59 else 28.9
        assert (await verifies.principal(sent)).scopes
        assert len(verified) == times


async def test_a_token_that_has_expired_is_not_remembered(verified: list[str]) -> None:
    clock = Clock()
    sent = token(SECRET, exp=int(clock.now) + 20)
    verifies, _ = verifier(clock, leeway_s=5)
    await verifies.principal(sent)
    clock.now = int(clock.now) + 24.9
    await verifies.principal(sent)
    assert len(verified) == 1
    clock.now += 0.2
    await verifies.principal(sent)  # PyJWT has the clock of the machine, by which it is good
    assert len(verified) == 2


async def test_a_token_is_verified_anew_once_the_keys_change(verified: list[str]) -> None:
    verifies, keys = verifier(Clock())
    sent = token(SECRET)
    await verifies.principal(sent)
    keys.generation += 1
    await verifies.principal(sent)
    assert len(verified) == 2


async def test_a_token_that_is_not_valid_is_not_remembered(verified: list[str]) -> None:
    verifies, _ = verifier(Clock())
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await verifies.principal(token(b"another" * 10))
    assert len(verified) == 2


async def test_so_many_are_remembered_the_last_verified(verified: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MOST_REMEMBERED", 3)
    verifies, _ = verifier(Clock())
    sent = [token(SECRET, sub=str(number)) for number in range(4)]
    for each in (*sent, *sent[1:]):
        await verifies.principal(each)
    assert verified == sent
    await verifies.principal(sent[0])
    assert verified == [*sent, sent[0]]


SETS: dict[str, tuple[list[Any], list[str]]] = {
    "both": ([public_jwk(RSA, kid="a"), public_jwk(EC, kid="b")], ["RS256", "ES256"]),
    "for signatures": ([public_jwk(RSA, use="sig", alg="RS256")], ["RS256"]),
    "for encryption": ([public_jwk(RSA, use="enc"), public_jwk(EC)], ["ES256"]),
    "to verify": ([public_jwk(RSA, key_ops=["verify"]), public_jwk(EC, key_ops=["sign"])], ["RS256"]),
    "another algorithm": ([public_jwk(RSA, alg="RS512"), public_jwk(EC, alg="ES256")], ["ES256"]),
    "a secret": ([{"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"}, public_jwk(EC)], ["ES256"]),
    "too short": ([public_jwk(rsa_key(1024)), public_jwk(EC)], ["ES256"]),
    "rubbish among them": (["a", 7, None, {}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-1"}, public_jwk(EC)], ["ES256"]),
    "a name too long": ([public_jwk(RSA, kid="a" * 201), public_jwk(EC, kid=7), public_jwk(EC, kid="b")], ["ES256"]),
}


@pytest.mark.parametrize("name", SETS)
def test_the_keys_of_a_set_are_those_that_sign_tokens(name: str) -> None:
    listed, algorithms = SETS[name]
    assert [each.algorithm for each in read_key_set(orjson.dumps({"keys": listed})).values()] == algorithms


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b"\xff", b"null"])
def test_what_is_no_set_is_told(document: bytes) -> None:
    with pytest.raises(ValueError, match="it (is no JWK set|has no key)"):
        read_key_set(document)


def test_a_set_has_so_many_keys_and_a_token_without_a_name_tries_few() -> None:
    listed = [public_jwk(EC, kid=str(number)) for number in range(200)]
    keys = read_key_set(orjson.dumps({"keys": listed}))
    assert len(keys) == 100
    assert len(fitting(keys, None, "ES256")) == 4 and not fitting(keys, None, "RS256")
    assert len(fitting(keys, "7", "ES256")) == 1 and not fitting(keys, "7", "RS256") and not fitting(keys, "x", "ES256")


def test_a_file_holds_few_keys() -> None:
    assert len(read_public_keys(public_pem(EC) * 4)) == 4
    with pytest.raises(ValueError, match="has 5 keys"):
        read_public_keys(public_pem(EC) * 5)
