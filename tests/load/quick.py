"""Has Millstream become slower? `make bench-quick`, in four minutes.

The bare handler, Millstream and the best of the peers take turns, with short runs at few, some and many connections.
Millstream's share of the others' rates is compared with that in docs/performance/baseline.json, which `--write` makes.
Ends with 1 if a share has fallen by more than chance explains. Shares of two machines differ, since what they compare
uses the cores in different ways: on another machine than the baseline's it tells and does not judge.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.load.baseline import Rate, Ratios, lines, ratios, slower
from tests.load.queue_path import echo, measured, millstream, peer
from tests.processes import REPOSITORY

BASELINE = REPOSITORY / "docs" / "performance" / "baseline.json"
OURS = "Millstream, everysec"
LEVELS, RUNS, SECONDS, ROUNDS = (1, 8, 64), 3, 1, 5  # so many short runs at each level, in a round
QUIET = 0.3  # the greatest load average at the start that needs no word
SUBJECTS = (echo, partial(millstream, appendfsync="everysec"), partial(peer, "saq"))


def machine() -> dict[str, str | int]:
    """This one: what its CPU is, and how many of them there are."""
    about = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", about.read_text() if about.exists() else "", re.MULTILINE)
    return {"cpu": model[1] if model else platform.processor() or platform.machine(), "cores": os.cpu_count() or 1}


def rates() -> Iterator[Rate]:
    """Measure all subjects in each round."""
    for number in range(ROUNDS):
        for start in SUBJECTS:
            with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as subject:
                for each in measured(subject, number, SECONDS, LEVELS * RUNS):
                    yield Rate(number, each.name, each.connections, each.rate)
                print(f"round {number + 1} of {ROUNDS}: {subject.name} measured", file=sys.stderr)


def compare(now: Ratios, baseline: Path) -> int:
    """Print how a run stands beside a baseline; the exit code."""
    before = json.loads(baseline.read_text(encoding="utf-8"))
    print("\n".join(lines(now, before["ratios"])))
    fallen = slower(now, before["ratios"])
    if before["machine"] != machine():
        print(
            f"the baseline is of another machine ({before['machine']}; this one is {machine()}), so nothing is judged"
        )
        return 0
    print("\n".join(fallen) if fallen else "nothing has become slower")
    return 1 if fallen else 0


def main() -> int:
    """Measure and compare; the exit code says whether something has become slower."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.quick", description=__doc__)
    parser.add_argument("--write", action="store_true", help="make this run the baseline (on a quiet machine)")
    parsed = parser.parse_args()
    if not parsed.write and not BASELINE.exists():
        parser.error(f"there is no {BASELINE.relative_to(REPOSITORY)} to compare with: make it with --write")
    if (busy := os.getloadavg()[0]) > QUIET:
        print(
            f"others use this machine (load {busy:.1f}), which slows a pipeline more than one process", file=sys.stderr
        )
    now = ratios(rates(), OURS)
    if parsed.write:
        made = {"machine": machine(), "ratios": now}
        BASELINE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        return 0
    return compare(now, BASELINE)


if __name__ == "__main__":
    sys.exit(main())
