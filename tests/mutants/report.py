"""The verdict over all faults: figures of each file, and whether they are good enough."""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutants.mutation import Mutant
from tests.mutants.trial import Verdict

LEAST_KILLED_PERCENT = 95.0


class Equal(NamedTuple):
    """A fault that changes nothing that anybody could notice.

    Attributes:
        path: of the file.
        gone, new: the lines that go, and those that come instead.
        why: it is equal.
    """

    path: str
    gone: str
    new: str
    why: str


def read_equal(path: Path) -> list[Equal]:
    """The list in `equal.toml`.

    Raises:
        ValueError: an entry gives no reason.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("equal", [])
    listed = [Equal(each["path"], each["from"], each["to"], each["why"].strip()) for each in entries]
    for each in listed:
        if not each.why:
            raise ValueError(f"{path.name} says no reason why in {each.path} '{each.gone}' may become '{each.new}'")
    return listed


def without_equal(mutants: Sequence[Mutant], listed: Iterable[Equal]) -> tuple[list[Mutant], list[Equal]]:
    """The faults that are not listed as equal, and what is listed of their files but no longer exists."""
    paths = {mutant.path for mutant in mutants}
    known = {(each.path, each.gone, each.new): each for each in listed if each.path in paths}
    rest = []
    found = set()
    for mutant in mutants:
        identity = (mutant.path, *mutant.difference)
        found.add(identity)
        if identity not in known:
            rest.append(mutant)
    return rest, [each for identity, each in known.items() if identity not in found]


class Report:
    """Counts verdicts."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[Verdict]] = defaultdict(Counter)

    def add(self, mutant: Mutant, verdict: Verdict) -> None:
        """One more."""
        self._counts[mutant.path][verdict] += 1

    @property
    def killed_percent(self) -> float:
        """The share of faults that were noticed; a test that never ends has noticed one too."""
        return _percent(sum(self._counts.values(), Counter()))

    def lines(self) -> list[str]:
        """A table: one line a file, and the sum."""
        rows = [("file", "mutants", *(verdict.value for verdict in Verdict), "killed %")]
        for name, counts in [*sorted(self._counts.items()), ("all", sum(self._counts.values(), Counter()))]:
            figures = [str(counts.total()), *(str(counts[verdict]) for verdict in Verdict)]
            rows.append((name, *figures, f"{_percent(counts):.1f}"))
        return [f"{row[0]:42}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]


def _percent(counts: Counter[Verdict]) -> float:
    return 100 * (1 - counts[Verdict.SURVIVED] / counts.total()) if counts else 100.0
