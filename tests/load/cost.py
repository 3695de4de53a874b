"""What a million predictions cost: `python -m tests.load.cost`. CPU seconds of each part, without models.

The pipeline of `make bench` on this machine, a no-op model, one HTTP request a prediction, its client waiting. The
busier the pipeline, the more goes together in a script call, a batch and an INSERT: the cost falls with the load. One
connection and many are measured, so that what is between them is known.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.load.bench import measure, pipeline, settle
from tests.load.cpu import cpu_seconds

PARTS = {
    "gateway": "gateway",
    "inference_worker": "worker",
    "persister": "persister",
    "postgres": "Postgres",
    "server": "Redis",
}


def parts() -> Iterator[tuple[str, int]]:
    """The pipeline's processes, all children of this one, each with its part."""
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split():
        words = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").replace("\0", " ").split()
        for word in words:
            name = word.rsplit("/", 1)[-1].rsplit("-", 1)[-1]
            if name in PARTS:
                yield PARTS[name], int(pid)
                break


def used() -> Mapping[str, float]:
    """CPU seconds of each part until now."""
    total: defaultdict[str, float] = defaultdict(float)
    for part, pid in parts():
        total[part] += cpu_seconds(pid)  # the benchmark's second gateway, which is asked nothing, counts too
    return total


def main() -> None:
    """Measure at both ends and print CPU seconds a million predictions."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.cost", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="of each run (default: 10)")
    seconds = parser.parse_args().seconds
    table: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, pipeline(Path(folder), "always") as running:
        answered = sum(measure(running.port, 64, 2).statuses.values())
        asyncio.run(settle(running.database_url, running.redis_url, answered))
        for connections in (1, 64, 256):
            before = used()
            done = sum(measure(running.port, connections, seconds).statuses.values())
            answered += done
            asyncio.run(settle(running.database_url, running.redis_url, answered))
            after = used()
            row = {part: (after[part] - before[part]) / done * 1e6 for part in PARTS.values()}
            table[connections] = {"rate": done / seconds, **row, "all": sum(row.values())}
    print(f"\nCPU seconds a million predictions, appendfsync always\n{'connections':>11}", end="")
    for name in next(iter(table.values())):
        print(f"{name if name != 'rate' else 'requests/s':>12}", end="")
    for connections, row in table.items():
        print(f"\n{connections:>11}" + "".join(f"{value:>12.0f}" for value in row.values()), end="")
    print()


if __name__ == "__main__":
    main()
