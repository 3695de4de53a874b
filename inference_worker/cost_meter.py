"""What requests to a version have cost lately. Pure.

Gateways reserve compute for a request before it has run; see `gateway.core.costs`. They know its characters, and learn
the rest from the heartbeats of workers.
"""

from __future__ import annotations

from shared.contract.costs import Cost

_WEIGHT = 0.05  # of a pass in the moving averages: some twenty passes are remembered


class CostMeter:
    """Moving averages over the passes of a version; None before the first.

    Attributes:
        cost: the averages.
    """

    def __init__(self) -> None:
        self.cost: Cost | None = None

    def learn(self, seconds: float, tokens: int, characters: int) -> None:
        """Add a pass that took so long, with so many tokens of texts of so many characters."""
        if tokens <= 0 or characters <= 0:
            return
        seen = Cost(seconds * 1_000_000 / tokens, tokens / characters)
        old = self.cost or seen
        self.cost = Cost(*(before + _WEIGHT * (now - before) for before, now in zip(old, seen, strict=True)))
