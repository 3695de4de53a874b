"""What the pictures of the report show: lines of the same figures as its tables. No drawing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.load.inference_path import RAW, RAW_SORTED
from tests.load.report.figures import Figures, Load, Run, Spread, figures

RATE, P50, P99 = "answers a second", "median latency, ms", "99th percentile of latency, ms"
FIELDS = {RATE: "rate", P50: "p50_ms", P99: "p99_ms"}


class Line(NamedTuple):
    """One subject: what it did over the load."""

    name: str
    points: tuple[tuple[float, Spread], ...]


class Panel(NamedTuple):
    """One diagram."""

    x: str
    y: str
    lines: tuple[Line, ...]


def panel(found: Figures, x: str, y: str, at: Callable[[Load], float]) -> Panel:
    """Of all subjects that have a place on the axis: `at` gives it, 0 is none."""
    lines = {
        name: tuple((at(load), getattr(figure, FIELDS[y])) for load, figure in loads.items() if at(load))
        for name, loads in found.items()
    }
    return Panel(x, y, tuple(Line(name, points) for name, points in lines.items() if points))


def queue_panels(runs: Sequence[Run]) -> list[Panel]:
    """Rate and median latency over connections."""
    return [panel(figures(runs), "connections", y, lambda load: load[0]) for y in (RATE, P50)]


def inference_panels(runs: Sequence[Run]) -> list[Panel]:
    """Rate and median latency over clients, latencies over shares of the peak; the model alone beside the rates."""
    found = figures(runs)
    rate, p50 = (panel(found, "clients", y, lambda load: load[0]) for y in (RATE, P50))
    clients = [at for at, _ in rate.lines[0].points]
    alone = (Line(name, tuple((at, found[name][0, 0].rate) for at in clients)) for name in (RAW, RAW_SORTED))
    share = "offered, share of the best peer's peak"
    over_shares = [panel(found, share, y, lambda load: load[1]) for y in (P50, P99)]
    return [rate._replace(lines=(*rate.lines, *alone)), p50, *over_shares]


def digest(panels: Sequence[Panel]) -> str:
    """By which a picture is known to be that of the runs."""
    return hashlib.sha256(json.dumps(panels).encode()).hexdigest()


PANELS: Mapping[str, Callable[[Sequence[Run]], list[Panel]]] = {
    "queue_path": queue_panels,
    "inference_path": inference_panels,
}
