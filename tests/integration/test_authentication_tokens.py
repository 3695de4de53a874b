"""Tokens over HTTP: what is accepted, and the table of attacks, each with its answer."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession
from pydantic import ValidationError

from gateway.http.context import SETTINGS
from shared.contract.errors import ConfigurationError
from shared.contract.ids import principal_id
from shared.contract.keys import Keys
from tests.gateways import Client, StartGateway, application_of, scrape
from tests.tokens import (
    AUDIENCE,
    ISSUED,
    ISSUER,
    by,
    claims,
    ec_key,
    issuing,
    part,
    public_jwk,
    public_pem,
    rsa_key,
    token,
)

BODY = {"model": "echo", "text": "hello"}
RSA, EC, OTHERS, SMALL = rsa_key(), ec_key(), rsa_key(), rsa_key(1024)
PUBLIC = public_pem(RSA)
SECRET = b"0123456789abcdef0123456789abcdef"

StartWith = Callable[..., Awaitable[Client]]


@pytest.fixture
def start_with(start_gateway: StartGateway, tmp_path: Path) -> StartWith:
    """Start a gateway that accepts tokens signed with a key from a file."""

    async def start(content: bytes = PUBLIC, setting: str = "jwt_key_file", **changes: Any) -> Client:
        path = tmp_path / "key"
        path.write_bytes(content)
        return await start_gateway(**{"auth": "required", setting: path, **ISSUED, **changes})

    return start


async def answer_to(gateway: Client, sent: str | None) -> tuple[int, str, str]:
    """Status, challenge and kind of the answer to a request with this Authorization header."""
    headers = {} if sent is None else {"Authorization": sent}
    async with gateway.get("/api/v1/models", headers=headers) as answer:
        kind = "" if answer.status == 200 else (await answer.json())["type"].rpartition(":")[2]
        return answer.status, answer.headers.get("WWW-Authenticate", ""), kind


def signed_by_hmac_of(public_key: bytes) -> str:
    """A token that takes the public key, which everybody knows, for the secret of HS256."""
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims())}"
    signature = hmac.new(public_key, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{jwt.utils.base64url_encode(signature).decode()}"


def tampered() -> str:
    """A good token whose claims were exchanged."""
    header, _, signature = token(RSA).split(".")
    return f"{header}.{part(claims(sub='root'))}.{signature}"


INVALID = (401, 'Bearer error="invalid_token"', "invalid-token")
BAD = (400, 'Bearer error="invalid_request"', "invalid-request")


def attacks() -> dict[str, tuple[str | None, tuple[int, str, str], str]]:
    """By name: what is sent, its answer and the reason that is counted; made anew, as tokens do not last."""
    now = int(time.time())
    return {
        "nothing": (None, (401, "Bearer", "unauthenticated"), "missing"),
        "empty": ("", (401, "Bearer", "unauthenticated"), "missing"),
        "another scheme": ("Basic YTpi", (401, "Bearer", "unauthenticated"), "missing"),
        "no token": ("Bearer ", BAD, "malformed"),
        "a space in it": ("Bearer a b", BAD, "malformed"),
        "two headers in one": (f"Bearer {token(RSA)}, Bearer {token(RSA)}", BAD, "malformed"),
        "oversized": (f"Bearer {'a' * 4097}", BAD, "too_large"),
        "rubbish": ("Bearer rubbish", INVALID, "malformed"),
        "rubbish in parts": ("Bearer a.b.c", INVALID, "malformed"),
        "five parts, as of JWE": ("Bearer a.b.c.d.e", INVALID, "malformed"),
        "alg none": (f"Bearer {part({'alg': 'none'})}.{part(claims())}.", INVALID, "algorithm"),
        "alg None": (f"Bearer {part({'alg': 'None'})}.{part(claims())}.", INVALID, "algorithm"),
        "no alg": (f"Bearer {part({})}.{part(claims())}.", INVALID, "algorithm"),
        "alg is a list": (f"Bearer {part({'alg': ['RS256']})}.{part(claims())}.", INVALID, "algorithm"),
        "another alg": (f"Bearer {jwt.encode(claims(), RSA, 'RS512')}", INVALID, "algorithm"),
        "HS/RS confusion": (f"Bearer {signed_by_hmac_of(public_pem(RSA))}", INVALID, "unknown_key"),
        "ES for RS": (f"Bearer {token(EC)}", INVALID, "unknown_key"),
        "another's key": (f"Bearer {token(OTHERS)}", INVALID, "signature"),
        "tampered": (f"Bearer {tampered()}", INVALID, "signature"),
        "no signature": (f"Bearer {token(RSA).rpartition('.')[0]}.", INVALID, "signature"),
        "expired": (f"Bearer {token(RSA, exp=now - 3600)}", INVALID, "expired"),
        "not yet": (f"Bearer {token(RSA, nbf=now + 3600)}", INVALID, "not_yet"),
        "issued in the future": (f"Bearer {token(RSA, iat=now + 3600)}", INVALID, "not_yet"),
        "too old": (f"Bearer {token(RSA, iat=now - 100_000)}", INVALID, "age"),
        "valid for too long": (f"Bearer {token(RSA, exp=now + 100_000)}", INVALID, "age"),
        "wrong aud": (f"Bearer {token(RSA, aud='https://other.example')}", INVALID, "audience"),
        "aud among others, none ours": (f"Bearer {token(RSA, aud=['a', 'b'])}", INVALID, "audience"),
        "wrong iss": (f"Bearer {token(RSA, iss='https://other.example')}", INVALID, "issuer"),
        "no exp": (f"Bearer {token(RSA, exp=None)}", INVALID, "claims"),
        "no aud": (f"Bearer {token(RSA, aud=None)}", INVALID, "claims"),
        "no iss": (f"Bearer {token(RSA, iss=None)}", INVALID, "claims"),
        "no sub": (f"Bearer {token(RSA, sub=None)}", INVALID, "claims"),
        "empty sub": (f"Bearer {token(RSA, sub='')}", INVALID, "claims"),
        "sub too long": (f"Bearer {token(RSA, sub='a' * 256)}", INVALID, "claims"),
        "sub is no text": (
            f"Bearer {jwt.encode({**claims(), 'sub': 'x'} | {'tenant': 7}, RSA, 'RS256')}",
            INVALID,
            "claims",
        ),
        "exp is no number": (f"Bearer {token(RSA, exp='soon')}", INVALID, "malformed"),
        "scope is a list": (f"Bearer {token(RSA, scope=['admin'])}", INVALID, "claims"),
        "models is a text": (f"Bearer {token(RSA, models='*')}", INVALID, "claims"),
        "too many models": (f"Bearer {token(RSA, models=['a'] * 51)}", INVALID, "claims"),
        "crit": (f"Bearer {token(RSA, {'crit': ['b64'], 'b64': True})}", INVALID, "malformed"),
        "crit of ours": (f"Bearer {token(RSA, {'crit': ['exp']})}", INVALID, "malformed"),
        "a token for a logout": (f"Bearer {token(RSA, {'typ': 'logout+jwt'})}", INVALID, "malformed"),
        "kid is a number": (f"Bearer {part({'alg': 'RS256', 'kid': 7})}.{part(claims())}.AAAA", INVALID, "malformed"),
        "jwk of the attacker": (f"Bearer {token(OTHERS, {'jwk': public_jwk(OTHERS)})}", INVALID, "signature"),
    }


async def test_every_attack_has_its_answer(start_with: StartWith, caplog: pytest.LogCaptureFixture) -> None:
    gateway = await start_with()
    assert (await answer_to(gateway, f"Bearer {token(RSA)}"))[0] == 200
    counted: dict[str, int] = {}
    for name, (sent, expected, reason) in attacks().items():
        assert await answer_to(gateway, sent) == expected, name
        counted[reason] = counted.get(reason, 0) + 1
        for secret in (sent or "").split(" ")[1:]:
            logged = "".join(str(vars(each)) for each in caplog.records)
            assert len(secret) < 10 or secret not in logged, f"{name}: the token is in the log"
    metrics = await scrape(gateway)
    for reason in counted:
        assert f'millstream_authentication_failures_total{{reason="{reason}"}}' in metrics


@pytest.mark.parametrize(
    ("key", "content", "setting"),
    [
        (RSA, public_pem(RSA), "jwt_key_file"),
        (EC, public_pem(EC), "jwt_key_file"),
        (SECRET, SECRET + b"\n", "jwt_secret_file"),
    ],
    ids=["RS256", "ES256", "HS256"],
)
async def test_a_token_of_each_algorithm_is_accepted(
    start_with: StartWith, key: Any, content: bytes, setting: str
) -> None:
    gateway = await start_with(content, setting)
    assert (await answer_to(gateway, f"Bearer {token(key)}"))[0] == 200
    assert (await answer_to(gateway, f"bearer  {token(key, aud=['x', AUDIENCE])}"))[0] == 200
    assert (await answer_to(gateway, f"Bearer {token(key, {'typ': 'at+jwt'}, iat=None)}"))[0] == 200
    async with gateway.get("/api/v1/models", headers=[("Authorization", f"Bearer {token(key)}")] * 2) as answer:
        assert answer.status == 400


async def test_a_file_may_hold_two_public_keys_while_they_are_being_changed(start_with: StartWith) -> None:
    gateway = await start_with(public_pem(OTHERS) + public_pem(RSA) + public_pem(EC))
    for key in (RSA, OTHERS, EC):
        assert (await answer_to(gateway, f"Bearer {token(key)}"))[0] == 200
    assert await answer_to(gateway, f"Bearer {token(rsa_key())}") == INVALID


async def test_a_token_gives_what_its_claims_say(start_with: StartWith, redis: Any, keys: Keys) -> None:
    gateway = await start_with()
    predicts = token(RSA, scope="openid predict", models=["ec*"])
    async with gateway.post("/api/v1/predict?wait=0", json=BODY, headers=by(predicts)) as answer:
        assert answer.status == 202
        prediction_id = (await answer.json())["prediction_id"]
    owner = await redis.hget(keys.prediction(prediction_id), "principal")
    assert owner.decode() == principal_id(ISSUER, "ann")
    path = f"/api/v1/predictions/{prediction_id}"
    wanted = {
        predicts: 403,
        token(RSA): 200,
        token(RSA, sub="bob"): 404,
        token(RSA, sub="bob", scope="read:all"): 200,
        token(RSA, sub="bob", scope="read:all", models=["noop"]): 404,
        token(RSA, scope=None): 403,
    }
    for sent, status in wanted.items():
        async with gateway.get(path, headers=by(sent)) as answer:
            assert answer.status == status, jwt.decode(sent, options={"verify_signature": False})


async def test_names_and_addresses_in_the_header_of_a_token_lead_nowhere(start_with: StartWith) -> None:
    gateway = await start_with()
    async with issuing(public_jwk(OTHERS, kid="theirs")) as attacker:
        for name in ("jku", "x5u"):
            assert await answer_to(gateway, f"Bearer {token(OTHERS, {name: attacker.url, 'kid': 'theirs'})}") == INVALID
            assert (await answer_to(gateway, f"Bearer {token(RSA, {name: attacker.url})}"))[0] == 200
        for kid in ("../../../../dev/null", "key' OR '1'='1", "/etc/passwd", "http://127.0.0.1/", "a" * 500):
            empty = f"{part({'alg': 'HS256', 'kid': kid})}.{part(claims())}"
            forged = jwt.utils.base64url_encode(hmac.new(b"", empty.encode(), hashlib.sha256).digest()).decode()
            assert await answer_to(gateway, f"Bearer {empty}.{forged}") == INVALID
        assert attacker.asked == 0


@pytest.mark.parametrize(
    ("content", "setting", "said"),
    [
        (b"short", "jwt_secret_file", "has 5 bytes; HS256 needs 32 or more"),
        (b"\n", "jwt_secret_file", "is empty"),
        (b"a" * 70_000, "jwt_secret_file", "is larger than 64 kB"),
        (b"no key", "jwt_key_file", "has 0 keys in PEM"),
        (public_pem(SMALL), "jwt_key_file", "neither RSA of 2048 bits or more"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "jwt_key_file", "cannot be read"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "jwt_key_file", "a private key"),
    ],
)
async def test_a_key_that_cannot_be_used_is_told_at_the_start(
    start_with: StartWith, content: bytes, setting: str, said: str
) -> None:
    with pytest.raises((ConfigurationError, ValidationError), match=said) as error:
        await start_with(content, setting)
    assert setting.upper().removesuffix("_FILE") in str(error.value)


async def test_with_authentication_the_document_says_so_and_health_tells_no_details(start_with: StartWith) -> None:
    gateway = await start_with()
    async with gateway.get("/openapi.json") as answer:
        document = await answer.json()
        assert document["paths"]["/api/v1/predict"]["post"]["security"] == [{"bearer": []}]
    for headers, fields in (({}, 3), (by(token(RSA)), 3), (by(token(RSA, scope="admin")), 9)):
        async with gateway.get("/health", headers=headers) as answer:
            assert len(await answer.json()) == fields


async def test_who_runs_the_gateway_is_told_all_of_its_health(start_with: StartWith) -> None:
    gateway = await start_with()
    await scrape(gateway)
    port = application_of(gateway)[SETTINGS].admin_port
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health") as answer:
        assert answer.status == 200 and {"unserved", "load_errors", "warnings"} < set(await answer.json())
