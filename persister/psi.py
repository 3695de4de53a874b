"""How far a distribution has moved from a reference: the population stability index. Pure.

PSI = sum over bins of (actual - expected) * ln(actual / expected), with shares of the bins; Siddiqi, "Credit Risk
Scorecards" (2006). Below 0.1 is usually called stable, 0.1 to 0.25 a shift worth a look, above 0.25 a large one. An
empty bin would make it infinite, so every share is at least `FLOOR`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

FLOOR = 1e-4

Bin = TypeVar("Bin", bound=Hashable)


def psi(expected: Mapping[Bin, float], actual: Mapping[Bin, float]) -> float:
    """The index of how far one distribution is from another.

    Args:
        expected: counts or shares of the reference, by bin.
        actual: counts or shares now; a bin that one side lacks counts as empty there.

    Raises:
        ValueError: a side has nothing in it, or a negative count.
    """
    bins = {*expected, *actual}
    return sum(
        (_share(actual, each) - _share(expected, each)) * math.log(_share(actual, each) / _share(expected, each))
        for each in bins
    )


def _share(counts: Mapping[Bin, float], wanted: Bin) -> float:
    total = sum(counts.values())
    if total <= 0 or min(counts.values()) < 0:
        raise ValueError("a distribution needs counts, none of them negative and not all of them 0")
    return max(FLOOR, counts.get(wanted, 0) / total)
