"""Does it grow? What a process was seen to use, and the judgement over it.

Some growth is no leak: services collect cycles rarely (`calm_garbage_collector`), so a gateway gains about 1.4 MB over
100,000 predictions and gives it back at a collection. Collecting every three seconds, it is flat to the page.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, median

WARM_UP_SHARE = 0.3
MOST_GROWTH = 0.10
LEAST_GROWTH_BYTES = 4 << 20  # below it is noise: a tenth of an idle Redis is less than one buffer
MOST_MORE_FILES = 8  # a pool opens a connection more when a burst asks for it
MB = 1 << 20


@dataclass
class Samples:
    """What one process was seen to use, second by second."""

    name: str
    pid: int
    at_s: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    files_before: int = 0
    files_after: int = 0

    def take(self, at_s: float) -> None:
        """Look at its resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        self.at_s.append(at_s)
        self.resident.append(pages * os.sysconf("SC_PAGE_SIZE"))

    def open_files(self) -> int:
        """How many files and sockets it has open now."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


@dataclass(frozen=True)
class Growth:
    """How one process's memory moved after the warm-up: medians in bytes, slope in bytes a second."""

    first: float
    last: float
    slope: float

    @property
    def share(self) -> float:
        """By how much of the first quarter the last is above it."""
        return self.last / self.first - 1


def growth(at_s: Sequence[float], resident: Sequence[int]) -> Growth:
    """Compare the first and the last quarter of what follows the warm-up."""
    start = round(len(resident) * WARM_UP_SHARE)
    times, values = at_s[start:], resident[start:]
    quarter = max(1, len(values) // 4)
    slope, _ = linear_regression(times, values)
    return Growth(median(values[:quarter]), median(values[-quarter:]), slope)


@dataclass
class Findings:
    """A whole run.

    Attributes:
        answers: HTTP answers by status.
        keys: keys in Redis at rest, before and after.
        stored: rows added to `predictions`.
        in_flight: requests that the gateway still answers, or waits for, at rest.
    """

    seconds: float
    processes: Sequence[Samples]
    answers: Counter[str]
    keys: tuple[int, int]
    stored: int
    in_flight: int

    def problems(self) -> list[str]:
        """What grew."""
        found = []
        for each in self.processes:
            moved = growth(each.at_s, each.resident)
            if moved.share > MOST_GROWTH and moved.last - moved.first > LEAST_GROWTH_BYTES:
                found.append(f"{each.name}: memory grew by {moved.share:.1%}; at most {MOST_GROWTH:.0%} is allowed")
            if each.files_after > each.files_before + MOST_MORE_FILES:
                found.append(f"{each.name}: {each.files_before} open files became {each.files_after}")
        if self.keys[1] > self.keys[0]:
            found.append(f"{self.keys[0]} keys in Redis became {self.keys[1]}")
        if self.in_flight:
            found.append(f"{self.in_flight} requests are in flight though nobody asks")
        return found

    def table(self) -> str:
        """For people."""
        lines = [
            f"{self.seconds:.0f} s, {self.stored} predictions stored ({self.stored / self.seconds:.0f}/s); answers: "
            + ", ".join(f"{count} × {status}" for status, count in sorted(self.answers.items())),
            "",
            f"{'process':<18}{'first quarter':>15}{'last quarter':>14}{'growth':>9}{'MB per 100k':>13}{'files':>12}",
        ]
        rate = max(1.0, self.stored / self.seconds)
        for each in self.processes:
            moved = growth(each.at_s, each.resident)
            lines.append(
                f"{each.name:<18}{moved.first / MB:>12.1f} MB{moved.last / MB:>11.1f} MB{moved.share:>9.1%}"
                f"{moved.slope / rate * 100_000 / MB:>13.3f}{each.files_before:>7} → {each.files_after}"
            )
        lines += [f"keys in Redis at rest: {self.keys[0]} → {self.keys[1]}; requests in flight: {self.in_flight}", ""]
        return "\n".join([*lines, *(self.problems() or ["nothing grows"])])
