"""Is a run slower than a baseline? Ratios of rates, one a round, compared by a bootstrap. No I/O.

A ratio of two things that took turns on one machine moves less than a rate, but still by several per cent from round to
round. So a fall counts only if chance does not explain it: rounds of both runs are drawn again and again, with
replacement, and nearly all quotients of their medians are below 1. With five rounds each that asks, roughly, for every
round to be below every one of the baseline.
"""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

DRAWS, SEED = 10_000, 16
CONFIDENCE = 0.99
TOLERATED = 0.05  # a smaller fall than this is none: two runs of the same code on two days differ by it

Ratios = Mapping[str, Sequence[float]]  # by what is compared: a ratio for each round


class Rate(NamedTuple):
    """One short run."""

    round: int
    name: str
    connections: int
    rate: float


class Change(NamedTuple):
    """From a baseline to a run: the quotient of the medians, and where it lies for nearly all draws."""

    quotient: float
    low: float
    high: float

    @property
    def slower(self) -> bool:
        """By more than what is tolerated, and not by chance."""
        return self.high < 1 and self.quotient < 1 - TOLERATED

    @property
    def faster(self) -> bool:
        """By as much, the other way."""
        return self.low > 1 and self.quotient > 1 + TOLERATED


def ratios(runs: Iterable[Rate], ours: str) -> dict[str, list[float]]:
    """What ours has of each other's rate at so many connections: of the medians of a round, in the order of rounds."""
    rates: dict[tuple[str, int, int], list[float]] = defaultdict(list)
    for run in runs:
        rates[run.name, run.connections, run.round].append(run.rate)
    median = {key: statistics.median(each) for key, each in rates.items()}
    found: dict[str, list[float]] = defaultdict(list)
    for (name, connections, number), rate in median.items():
        if name != ours:
            found[f"{ours} / {name}, at {connections}"].append(median[ours, connections, number] / rate)
    return found


def change(now: Sequence[float], before: Sequence[float]) -> Change:
    """How a ratio has changed."""
    chance = random.Random(SEED)

    def drawn(rounds: Sequence[float]) -> float:
        return statistics.median(chance.choices(rounds, k=len(rounds)))

    quotients = sorted(drawn(now) / drawn(before) for _ in range(DRAWS))
    outside = int(DRAWS * (1 - CONFIDENCE) / 2)
    return Change(statistics.median(now) / statistics.median(before), quotients[outside], quotients[-1 - outside])


def changes(now: Ratios, before: Ratios) -> dict[str, Change]:
    """Of every ratio that both have."""
    return {name: change(now[name], before[name]) for name in now if name in before}


def lines(now: Ratios, before: Ratios) -> Iterable[str]:
    """A table of both, for a reader."""
    of_draws = f"{CONFIDENCE:.0%} of draws"
    yield f"{'rates, at so many connections':<44}{'now':>8}{'baseline':>10}{'change':>9}{of_draws:>19}"
    for name, each in changes(now, before).items():
        medians = f"{statistics.median(now[name]):>8.3f}{statistics.median(before[name]):>10.3f}"
        verdict = "SLOWER" if each.slower else "faster" if each.faster else "as before"
        interval = f"{each.low - 1:+.0%} to {each.high - 1:+.0%}"
        yield f"{name:<44}{medians}{each.quotient - 1:>+9.0%}{interval:>19}  {verdict}"


def slower(now: Ratios, before: Ratios) -> list[str]:
    """A sentence for each ratio that has fallen."""
    fallen = {name: each for name, each in changes(now, before).items() if each.slower}
    sure = f"with {CONFIDENCE:.0%} confidence at least"
    return [
        f"{name}: {1 - each.quotient:.0%} less than the baseline, {sure} {1 - each.high:.0%} less"
        for name, each in fallen.items()
    ]
