"""What the documents say of the kept runs: first where Millstream is behind, then the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.load.inference_path import OURS, RAW, RAW_SORTED
from tests.load.report.figures import ECHO, Figure, Figures, Load, Run, Spread, added_p50_ms, figures, shares, spread

INSERT = "INSERT unnest"
Lines = list[str]


def behind(found: Figures, ours: Sequence[str], others: Sequence[str], load_name: Callable[[Load], str]) -> Lines:
    """Where the best of ours is behind the best of the others: in rate under a closed loop, in latency under all."""
    told = []
    for load in found[ours[0]]:
        for what, better in (("rate", max), ("p50_ms", min), ("p99_ms", min)):
            if what == "rate" and load[1]:
                continue  # an open loop has the rate that it was given
            best = better(others, key=lambda name: getattr(found[name][load], what), default=None)
            own = better(ours, key=lambda name: getattr(found[name][load], what))
            if best is None:
                continue
            theirs, mine = getattr(found[best][load], what).median, getattr(found[own][load], what).median
            if better(theirs, mine) == theirs and theirs != mine:
                told.append(f"- {load_name(load)}: {_words(what, mine)}, {best} has {_words(what, theirs)}")
    return told or ["- nowhere in this table"]


def _words(what: str, value: float) -> str:
    return f"{value:,.0f}/s" if what == "rate" else f"a {what[:3]} of {value:,.2f} ms"


def table(found: Figures, loads: Sequence[Load], load_name: Callable[[Load], str]) -> Iterator[str]:
    """A row for each subject: rate with its spread, p50 and p99, and CPU seconds for 1,000 requests."""
    yield "| | " + " | ".join(map(load_name, loads)) + " |"
    yield "|---|" + "---|" * len(loads)
    for name, figure in found.items():
        if any(load in figure for load in loads):
            yield f"| {name} | " + " | ".join(_cell(figure.get(load)) for load in loads) + " |"


def _cell(each: Figure | None) -> str:
    if each is None:
        return ""
    latencies = f"{each.p50_ms.median:,.2f} · {each.p99_ms.median:,.2f} ms"
    return f"{_rate(each)}<br>{latencies}<br>{each.cpu_s_per_1000.median:.3f} CPU s"


def _rate(each: Figure) -> str:
    return f"{each.rate.median:,.0f}/s ({each.rate.least:,.0f} to {each.rate.greatest:,.0f})"


def _ours(found: Figures) -> list[str]:
    return [name for name in found if name.startswith(OURS)]


def _connections(load: Load) -> str:
    return f"{load[0]} connection{'s' if load[0] > 1 else ''}"


def queue_part(runs: Sequence[Run]) -> Lines:
    """Of the queue path."""
    found = figures(runs)
    ours = _ours(found)
    peers = [name for name in found if name not in (ECHO, *ours)]
    shipped = [name for name in ours if name.endswith("always")] or ours
    lines = ["Behind, as shipped (`always`):", "", *behind(found, shipped, peers, _connections), ""]
    lines += table(found, list(found[ours[0]]), _connections)
    for name in ours:
        of_echo = (f"{share:.0%} at {load[0]}" for load, share in shares(runs, name, [ECHO]).items())
        of_peers = (f"{share:.1f} at {load[0]}" for load, share in shares(runs, name, peers).items())
        lines += ["", f"{name} has of the bare handler's rate: {', '.join(of_echo)} connections."]
        lines[-1] += f" Times the rate of the best queue in the same round: {', '.join(of_peers)}." if peers else ""
    return lines


def queue_summary(runs: Sequence[Run]) -> Lines:
    """Of the queue path, beside the bare handler alone."""
    lines = [
        f"| | connections | requests/s | p50 ms | p99 ms | of the {ECHO} | added to p50 |",
        "|---|---|---|---|---|---|---|",
    ]
    found = figures(runs)
    for name in _ours(found):
        of_echo, added = shares(runs, name, [ECHO]), added_p50_ms(runs, name, ECHO)
        for load, each in found[name].items():
            latencies = f"{each.p50_ms.median:,.2f} | {each.p99_ms.median:,.2f}"
            compared = f"{of_echo[load]:.0%} | {added[load]:,.2f} ms"
            lines.append(f"| {name} | {load[0]} | {each.rate.median:,.0f} | {latencies} | {compared} |")
    return lines


def inference_part(runs: Sequence[Run]) -> Lines:
    """Of the inference path."""
    found = figures(runs)
    ceilings = {name: found[name][0, 0].rate.median for name in (RAW, RAW_SORTED)}
    served = {name: each for name, each in found.items() if name not in ceilings}
    ours = _ours(served)
    peers = [name for name in served if name not in ours]

    def name_of(load: Load) -> str:
        return f"{load[0]} client{'s' if load[0] > 1 else ''}" if load[0] else f"{load[1]:.0%} of the peak"

    loads = list(served[ours[0]])
    same_engine = [name for name in ours if name.endswith("torch")]
    lines = ["Behind, on the same engine:", "", *behind(served, same_engine, peers, name_of), ""]
    lines += [*table(served, [load for load in loads if load[0]], name_of), ""]
    lines += [*table(served, [load for load in loads if not load[0]], name_of), ""]
    alone = f"{ceilings[RAW]:,.0f}/s as texts come, {ceilings[RAW_SORTED]:,.0f}/s sorted by length"
    return [*lines, f"The model alone, without a server, on all cores: {alone}."]


def persist_part(runs: Sequence[Run]) -> Lines:
    """Of the persist path."""
    lines = [f"| | rows/s | CPU s for 1,000 rows | share of {INSERT} |", "|---|---|---|---|"]
    for name, loads in figures(runs).items():
        (each,) = loads.values()
        of_insert = "" if name == INSERT else f"{_share_of_insert(runs, name):.0%}"
        lines.append(f"| {name} | {_rate(each)} | {each.cpu_s_per_1000.median:.4f} | {of_insert} |")
    return lines


def persist_summary(runs: Sequence[Run]) -> Lines:
    """Of the persist path, what one persister stores."""
    found = figures(runs)
    (name,) = (name for name in found if name.endswith("persister"))
    (each,) = found[name].values()
    cpu = f"{each.cpu_s_per_1000.median * 1000:.0f} CPU seconds a million rows, all processes"
    return [
        f"One persister stores {_rate(each)}, {_share_of_insert(runs, name):.0%} of the bare INSERT's rate, with {cpu}."
    ]


def _share_of_insert(runs: Sequence[Run], name: str) -> float:
    (share,) = shares(runs, name, [INSERT]).values()
    return share


def footprint_part(runs: Sequence[Run]) -> Lines:
    """Of what Millstream takes."""
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        values[run["name"], run["unit"]].append(run["value"])
    rows = (_footprint(name, unit, spread(each)) for (name, unit), each in values.items())
    return ["| | median | the least and the greatest |", "|---|---|---|", *rows]


def _footprint(name: str, unit: str, each: Spread) -> str:
    median, least, greatest = (f"{value:,.0f}" if each.median >= 100 else f"{value:.1f}" for value in each)
    return f"| {name} | {median} {unit} | {least} to {greatest} |"


class Part(NamedTuple):
    """What stands between the marks of its name: made of the runs kept under a name."""

    runs: str
    made: Callable[[Sequence[Run]], Lines]


PARTS: Mapping[str, Part] = {
    "queue_path": Part("queue_path", queue_part),
    "queue_summary": Part("queue_path", queue_summary),
    "inference_path": Part("inference_path", inference_part),
    "persist_path": Part("persist_path", persist_part),
    "persist_summary": Part("persist_path", persist_summary),
    "footprint": Part("footprint", footprint_part),
}
