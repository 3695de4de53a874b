"""What a request to a model version costs: as workers measure it, and as gateways estimate it before it ran. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import orjson


class Cost(NamedTuple):
    """What a version has cost lately: microseconds that a token is computed, and tokens that a character makes."""

    us_a_token: float
    tokens_a_character: float


def encode_costs(costs: Mapping[str, Cost]) -> bytes:
    """The text of costs by label, for a heartbeat."""
    return orjson.dumps({label: list(cost) for label, cost in costs.items()})


def decode_costs(text: bytes | None) -> dict[str, Cost]:
    """Costs by label, from a heartbeat; none if they cannot be read."""
    try:
        found = orjson.loads(text or b"{}")
        return {label: Cost(float(us), float(ratio)) for label, (us, ratio) in found.items() if us >= 0 and ratio >= 0}
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
        return {}
