"""Under which name a result is cached. Pure.

The name is an HMAC (RFC 2104) with SHA-256 over everything that the result depends on, each part with its length before
it, so that no two different requests have the same. Without the secret nobody can tell an input from its name, or ask
whether one was sent.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple


class Cacheable(NamedTuple):
    """What a result depends on.

    Attributes:
        owner: whose results may be given: a tenant, or empty for everybody's.
        generation: how often the owner's results were erased.
        fingerprint: of the artifact and code that compute it, as workers tell.
        options: in their canonical form.
    """

    owner: str
    generation: int
    label: str
    fingerprint: str
    options: bytes
    input: bytes


def cache_key(secret: bytes, about: Cacheable) -> str:
    """The name: 64 hexadecimal digits."""
    digest = hmac.new(secret, digestmod=hashlib.sha256)
    for part in about:
        raw = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()
