"""Figures of runs: medians with their spread, shares of what was measured in the same round. No I/O."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

ECHO = "bare handler"
MEASURES = ("rate", "p50_ms", "p99_ms", "cpu_s_per_1000")

Run = Mapping[str, Any]  # one line of JSON
Load = tuple[int, float]  # connections or clients, or the share of a peak


class Spread(NamedTuple):
    """The median of the rounds, the least and the greatest."""

    median: float
    least: float
    greatest: float


class Figure(NamedTuple):
    """What one subject did under one load; 0 is what its runs do not measure."""

    rate: Spread
    p50_ms: Spread
    p99_ms: Spread
    cpu_s_per_1000: Spread


Figures = Mapping[str, Mapping[Load, Figure]]


def load_of(run: Run) -> Load:
    """Under which load a run was."""
    return run.get("connections", run.get("clients", 0)), run.get("share", 0)


def figures(runs: Iterable[Run]) -> Figures:
    """By subject and load, in the order of the runs."""
    found: dict[str, dict[Load, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        found[run["name"]][load_of(run)].append(run)
    return {name: {load: _figure(each) for load, each in loads.items()} for name, loads in found.items()}


def _figure(runs: Sequence[Run]) -> Figure:
    return Figure(*(spread([run.get(name, 0) for run in runs]) for name in MEASURES))


def spread(values: Sequence[float]) -> Spread:
    """Of the rounds."""
    return Spread(statistics.median(values), min(values), max(values))


def shares(runs: Sequence[Run], name: str, of: Collection[str]) -> dict[Load, float]:
    """Of the best rate that others had under the same load in the same round: the median of the rounds."""
    pairs = _pairs(runs, name, of)
    return {
        load: statistics.median(run["rate"] / max(each["rate"] for each in beside) for run, beside in pairs[load])
        for load in pairs
    }


def added_p50_ms(runs: Sequence[Run], name: str, to: str) -> dict[Load, float]:
    """To the median latency of another under the same load in the same round: the median of the rounds."""
    pairs = _pairs(runs, name, [to])
    return {
        load: statistics.median(run["p50_ms"] - beside[0]["p50_ms"] for run, beside in pairs[load]) for load in pairs
    }


def _pairs(runs: Sequence[Run], name: str, others: Collection[str]) -> dict[Load, list[tuple[Run, list[Run]]]]:
    """Each run of a subject, by load, with those of others in its round."""
    of_others: dict[tuple[Any, Load], list[Run]] = defaultdict(list)
    for run in runs:
        if run["name"] in others:
            of_others[run["round"], load_of(run)].append(run)
    pairs: dict[Load, list[tuple[Run, list[Run]]]] = defaultdict(list)
    for run in runs:
        if run["name"] == name and (beside := of_others.get((run["round"], load_of(run)))):
            pairs[load_of(run)].append((run, beside))
    return pairs
