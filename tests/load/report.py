"""The report of `queue_path` and `inference_path`: `python -m tests.load.report`.

Reads the runs that they printed, kept in docs/performance/, and writes the tables of docs/PERFORMANCE.md between its
marks: medians of the rounds, shares of what was measured in the same round, and first where Millstream is behind.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.load.inference_path import OURS, RAW, RAW_SORTED
from tests.processes import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "PERFORMANCE.md"
RUNS = REPOSITORY / "docs" / "performance"
ECHO = "bare handler"

Load = tuple[int, float]  # connections or clients, or the share of a peak


class Figure(NamedTuple):
    """What one subject did under one load: medians of the rounds, and the least and the greatest rate."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float
    least: float
    greatest: float


Figures = Mapping[str, Mapping[Load, Figure]]


def figures(runs: Iterable[Mapping[str, Any]]) -> Figures:
    """The medians of runs, by subject and load, in the order of the runs."""
    found: dict[str, dict[Load, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        found[run["name"]][run.get("connections", run.get("clients", 0)), run.get("share", 0)].append(run)
    return {name: {load: _figure(each) for load, each in loads.items()} for name, loads in found.items()}


def _figure(runs: Sequence[Mapping[str, Any]]) -> Figure:
    rates = [run["rate"] for run in runs]
    names = ("rate", "p50_ms", "p99_ms", "cpu_s_per_1000")
    medians = {name: statistics.median(run[name] for run in runs) for name in names}
    return Figure(**medians, least=min(rates), greatest=max(rates))


def shares(runs: Sequence[Mapping[str, Any]], name: str, of: str) -> dict[int, float]:
    """Of the rate of another subject at as many connections in the same round, by connections: the median."""
    rates = {(run["name"], run["round"], run["connections"]): run["rate"] for run in runs}
    found: dict[int, list[float]] = defaultdict(list)
    for (subject, number, connections), rate in rates.items():
        if subject == name and (of, number, connections) in rates:
            found[connections].append(rate / rates[of, number, connections])
    return {connections: statistics.median(each) for connections, each in found.items()}


def behind(found: Figures, ours: Sequence[str], others: Sequence[str], load_name: Callable[[Load], str]) -> list[str]:
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
            theirs, mine = getattr(found[best][load], what), getattr(found[own][load], what)
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
    spread = f"{each.rate:,.0f}/s ({each.least:,.0f} to {each.greatest:,.0f})"
    return f"{spread}<br>{each.p50_ms:,.2f} · {each.p99_ms:,.2f} ms<br>{each.cpu_s_per_1000:.3f} CPU s"


def queue_part(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the report says of the queue path."""
    found = figures(runs)
    ours = [name for name in found if name.startswith(OURS)]
    peers = [name for name in found if name not in (ECHO, *ours)]

    def name_of(load: Load) -> str:
        return f"{load[0]} connection{'s' if load[0] > 1 else ''}"

    lines = ["Behind:", "", *behind(found, ours, peers, name_of), ""]
    lines += table(found, list(found[ours[0]]), name_of)
    for name in ours:
        told = (f"{share:.0%} at {connections}" for connections, share in shares(runs, name, ECHO).items())
        lines += ["", f"{name} has of the bare handler's rate: {', '.join(told)} connections."]
    return lines


def inference_part(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the report says of the inference path."""
    found = figures(runs)
    ceilings = {name: found[name][0, 0].rate for name in (RAW, RAW_SORTED)}
    served = {name: each for name, each in found.items() if name not in ceilings}
    ours = [name for name in served if name.startswith(OURS)]
    peers = [name for name in served if name not in ours]

    def name_of(load: Load) -> str:
        return f"{load[0]} client{'s' if load[0] > 1 else ''}" if load[0] else f"{load[1]:.0%} of the peak"

    loads = list(served[ours[0]])
    same_engine = [name for name in ours if name.endswith("torch")]
    lines = ["Behind, on the same engine:", "", *behind(served, same_engine, peers, name_of), ""]
    lines += [*table(served, [load for load in loads if load[0]], name_of), ""]
    lines += [*table(served, [load for load in loads if not load[0]], name_of), ""]
    alone = " and ".join(f"{rate:,.0f}/s {name.replace(RAW, '').strip(', ')}" for name, rate in ceilings.items())
    return [*lines, f"The model alone, without a server, on all cores: {alone}."]


PARTS = {"queue_path": queue_part, "inference_path": inference_part}


def written(document: str, parts: Mapping[str, Sequence[str]]) -> str:
    """The document with its parts replaced, each between its marks."""
    for name, lines in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = "\n".join([begin, "", *lines, "", end])
        document = pattern.sub(text.replace("\\", r"\\"), document)
    return document


def report() -> str:
    """The document with the tables of the runs that are kept."""
    kept = {name: Path(RUNS, f"{name}.jsonl") for name in PARTS}
    runs = {name: path.read_text(encoding="utf-8").splitlines() for name, path in kept.items() if path.exists()}
    return written(
        DOCUMENT.read_text(encoding="utf-8"),
        {name: PARTS[name]([json.loads(line) for line in lines]) for name, lines in runs.items()},
    )


def main() -> int:
    """Write the report; with `--check` the exit code says whether it is that of the runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.report", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        return 0 if report() == DOCUMENT.read_text(encoding="utf-8") else 1
    DOCUMENT.write_text(report(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
