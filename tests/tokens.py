"""Tokens for tests, good and bad, and an issuer whose keys can be fetched."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import jwt
import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://issuer.example", "https://millstream.example"
ISSUED = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey


def rsa_key(bits: int = 2048) -> RSAPrivateKey:
    return generate_rsa_key(65537, bits)


def ec_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


def algorithm_of(key: PrivateKey | bytes) -> str:
    return "HS256" if isinstance(key, bytes) else "RS256" if isinstance(key, RSAPrivateKey) else "ES256"


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_jwk(key: PrivateKey, **more: Any) -> dict[str, Any]:
    public: Any = key.public_key()
    algorithm = RSAAlgorithm if isinstance(key, RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(public, as_dict=True), **more}


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, with changes; None leaves one out."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600, "scope": "predict read"}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(key: PrivateKey | bytes, headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """A token that this key signed, with good claims but for the changes."""
    return jwt.encode(claims(**changes), key, algorithm_of(key), headers=dict(headers or {}))


def by(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def part(value: Mapping[str, Any]) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


class Issuer:
    """An issuer's JWK set on loopback.

    Attributes:
        url: where the set is.
        answer: what it answers, if not the set.
        asked: how often it was asked.
        changed: set at each request.
    """

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.url = ""
        self.answer: web.Response | None = None
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def handle(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.answer is not None:
            return web.Response(status=self.answer.status, body=self.answer.body, headers=self.answer.headers)
        return web.Response(body=orjson.dumps({"keys": self.keys}), content_type="application/json")


@asynccontextmanager
async def issuing(*keys: dict[str, Any]) -> AsyncIterator[Issuer]:
    """An issuer, as long as the block runs."""
    issuer = Issuer(*keys)
    application = web.Application()
    application.router.add_get("/jwks", issuer.handle)
    async with TestServer(application) as server:
        issuer.url = str(server.make_url("/jwks"))
        yield issuer
