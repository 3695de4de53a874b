"""Authentication, limits, the cache and an experiment are on, as in production; nobody reaches a limit."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp

from tests.tokens import AUDIENCE, ISSUER, token

_LASTS_S = 80_000  # longer than the clocks jump
_SECRET = "the secret of the tokens of a chaos run"
_PROFILES = """
[profiles.default]
requests = {quota = 1_000_000, window_s = 60}
compute_ms = {quota = 100_000_000, window_s = 60}
queued = 100_000
queued_bytes = 100_000_000
waits = 10_000
reads = {quota = 1_000_000, window_s = 60}
"""
EXPERIMENT = {"arms": [{"version": "1.0.0"}, {"version": "2.0.0"}]}


def settings(folder: Path) -> dict[str, str]:
    """What gateways are told."""
    profiles = folder / "limits.toml"
    profiles.write_text(_PROFILES, encoding="utf-8")
    return {
        "AUTH": "required",
        "JWT_SECRET": _SECRET,
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "LIMIT_PROFILES": str(profiles),
        "CACHE_SECRET": "the secret of the cache of a chaos run",
    }


def credentials(name: str, scope: str = "predict read") -> dict[str, str]:
    """The headers of a caller of this name."""
    return {
        "Authorization": f"Bearer {token(_SECRET.encode(), sub=name, scope=scope, exp=int(time.time()) + _LASTS_S)}"
    }


async def start_experiment(url: str, model: str) -> None:
    """Begin an experiment between two versions of a model.

    Raises:
        AssertionError: it was refused.
    """
    async with aiohttp.ClientSession(url, headers=credentials("admin", "admin")) as session:
        async with session.put(f"/api/v1/models/{model}/experiment", json=EXPERIMENT) as answer:
            assert answer.status == 200, await answer.text()
