"""The form of an API key, `msk_<id>_<secret>_<checksum>`, and what is kept of it. Pure.

The id finds the key; the secret, of 256 random bits, proves that it is one's own. The checksum, a CRC-32, keeps out
what was mistyped or made up without asking the database. Kept is an HMAC of the key, whose secret (the pepper) is not
in the database: who reads that alone has no key, and can make none.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from typing import NamedTuple

from gateway.core.errors import Unauthenticated

PREFIX = "msk_"
LEAST_PEPPER_BYTES = 32
ID_BYTES, SECRET_BYTES = 10, 32
_KEY = re.compile(r"msk_([a-z2-7]{16})_([a-z2-7]{52})_([0-9a-f]{8})", re.ASCII)


class ApiKey(NamedTuple):
    """An API key; `text` is all of it."""

    id: str
    text: str


def make(id_bytes: bytes, secret_bytes: bytes) -> ApiKey:
    """A key of random bytes: `ID_BYTES` and `SECRET_BYTES` of them."""
    key_id, body = _base32(id_bytes), f"{PREFIX}{_base32(id_bytes)}_{_base32(secret_bytes)}"
    return ApiKey(key_id, f"{body}_{_checksum(body)}")


def read(text: str) -> ApiKey:
    """The key with this text.

    Raises:
        Unauthenticated: it has not the form of one, or its checksum is wrong.
    """
    match = _KEY.fullmatch(text)
    if match is None or _checksum(text[: match.start(3) - 1]) != match[3]:
        raise Unauthenticated("the API key is mistyped or cut off: its checksum is wrong", reason="checksum")
    return ApiKey(match[1], text)


def is_key_id(text: str) -> bool:
    """Whether this has the form of a key's id."""
    return re.fullmatch("[a-z2-7]{16}", text) is not None


def hmac_of(key: ApiKey, pepper: bytes) -> bytes:
    """What is kept of a key: HMAC-SHA-256, 32 bytes."""
    return hmac.digest(pepper, key.text.encode(), hashlib.sha256)


def _base32(some: bytes) -> str:
    return base64.b32encode(some).decode().rstrip("=").lower()


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
