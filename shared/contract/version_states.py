"""What a worker tells of each version: that it loads it, serves it, has unloaded it, or cannot load it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import orjson

MOST_REASON_CHARS = 300


class State(StrEnum):
    """How far a worker is with a version."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADED = "unloaded"  # to make room; it is loaded again when requests come
    WAITING = "waiting_for_memory"  # requests wait for it, and nothing may be unloaded for it


class VersionState(NamedTuple):
    """How far a worker is with a version, and why it does not serve it."""

    state: State
    reason: str = ""


def encode_states(states: Mapping[str, VersionState]) -> bytes:
    """The text of states by label, for a heartbeat."""
    return orjson.dumps({label: [each.state, each.reason[:MOST_REASON_CHARS]] for label, each in states.items()})


def decode_states(text: bytes | None) -> dict[str, VersionState]:
    """States by label, from a heartbeat; none if they cannot be read."""
    try:
        told = orjson.loads(text or b"{}")
        return {str(label): VersionState(State(state), str(reason)) for label, (state, reason) in told.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
