"""The keys that tokens are signed with, read from a PEM file, a secret or a JWK set (RFC 7517). Pure.

Each key verifies one algorithm, which follows from the key itself and never from a token: so no token can have a public
key taken for the secret of an HMAC (RFC 8725, section 2.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK, PyJWTError

ALGORITHMS = ("RS256", "ES256", "HS256")
LEAST_SECRET_BYTES = 32  # RFC 7518, section 3.2: as long as the digest of SHA-256
LEAST_RSA_BITS = 2048  # RFC 7518, section 3.3
MOST_KEYS = 100  # of a set
MOST_TRIED = 4  # for one token that does not name its key
_LONGEST_KID = 200
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


class SigningKey(NamedTuple):
    """A key, and the only algorithm that it verifies."""

    algorithm: str
    key: RSAPublicKey | EllipticCurvePublicKey | bytes


def read_hmac_key(secret: bytes) -> SigningKey:
    """The key of HS256.

    Raises:
        ValueError: it is too short.
    """
    if len(secret) < LEAST_SECRET_BYTES:
        raise ValueError(f"it has {len(secret)} bytes; HS256 needs {LEAST_SECRET_BYTES} or more: openssl rand -hex 32")
    return SigningKey("HS256", secret)


def read_public_keys(pem: bytes) -> list[SigningKey]:
    """The public keys of a PEM file: one, or several while they are being changed.

    Raises:
        ValueError: it has none, or one that cannot be used; the message says why.
    """
    blocks = list(_PEM.finditer(pem))
    if not 1 <= len(blocks) <= MOST_TRIED:
        raise ValueError(
            f"it has {len(blocks)} keys in PEM (-----BEGIN PUBLIC KEY-----); it must have 1 to {MOST_TRIED}"
        )
    return [_public_key(each) for each in blocks]


def _public_key(block: re.Match[bytes]) -> SigningKey:
    kind = block[1].decode()
    if "PRIVATE" in kind:
        raise ValueError("it has a private key: the gateway needs the public one (openssl pkey -pubout)")
    try:
        key = load_pem_public_key(block[0])
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"it has a {kind} that cannot be read; it must be a PUBLIC KEY") from error
    found = _of_key(key)
    if found is None:
        raise ValueError(f"it has a key that is neither RSA of {LEAST_RSA_BITS} bits or more nor on the curve P-256")
    return found


def _of_key(key: object) -> SigningKey | None:
    if isinstance(key, RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
        return SigningKey("RS256", key)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return SigningKey("ES256", key)
    return None


def read_key_set(document: bytes) -> Mapping[str, SigningKey]:
    """The keys of a JWK set that sign tokens here, by their ids; what cannot be used here is left out.

    Raises:
        ValueError: it is no JWK set, or none of its keys can be used.
    """
    try:
        listed = orjson.loads(document)["keys"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        listed = None
    if not isinstance(listed, list):
        raise ValueError("it is no JWK set: an object with a list `keys`")
    found: dict[str, SigningKey] = {}
    for number, each in enumerate(listed[:MOST_KEYS]):
        key = _of_jwk(each) if isinstance(each, dict) else None
        if key is not None:
            found.setdefault(each.get("kid", f"#{number}"), key)
    if not found:
        raise ValueError("it has no key for RS256 or ES256 that is for signatures")
    return found


def _of_jwk(jwk: dict[str, Any]) -> SigningKey | None:
    """A key for signatures, or None; a secret is none, since whoever reads the set would know it."""
    algorithm, kid = {"RSA": "RS256", "EC": "ES256"}.get(str(jwk.get("kty"))), jwk.get("kid", "")
    if algorithm is None or jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        return None
    if not isinstance(kid, str) or len(kid) > _LONGEST_KID or not _may_verify(jwk.get("key_ops", ["verify"])):
        return None
    try:
        return _of_key(PyJWK(jwk, algorithm).key)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None


def _may_verify(operations: object) -> bool:
    return isinstance(operations, list) and "verify" in operations


def fitting(keys: Mapping[str, SigningKey], kid: str | None, algorithm: str) -> Sequence[SigningKey]:
    """The keys of a set that may have signed a token: the named one; without a name, the first of the algorithm."""
    named = list(keys.values()) if kid is None else [keys[kid]] if kid in keys else []
    return [each for each in named if each.algorithm == algorithm][:MOST_TRIED]
