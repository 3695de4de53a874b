"""Trying faults, several at a time: does a test notice each?"""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from scripts.stack.postgres import running_postgres
from tests.mutants.baseline import Baseline
from tests.mutants.mutation import Mutant
from tests.mutants.workplace import Workplace, exit_code, load_plugins

UNNOTICED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
LIMIT_FACTOR, LIMIT_MARGIN_S = 5.0, 40.0  # longer than the 20 s that `eventually` waits: it is to say what did not come
_own: list[Workplace] = []  # in each process that tries faults: its own


class Verdict(StrEnum):
    """What came of a fault."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMED_OUT = "timed out"


class Chosen:
    """A pytest plugin that runs the chosen tests, in their order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._order = {test: at for at, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the others out."""
        items[:] = sorted((each for each in items if each.nodeid in self._order), key=lambda i: self._order[i.nodeid])


@contextmanager
def workplaces(root: Path, count: int, *, postgres: bool) -> Iterator[list[Workplace]]:
    """Copies of the repository, each with a Postgres if the tests need one, for the length of the block."""
    load_plugins()
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millstream-mutants-")))
        made = []
        for number in range(count):
            folder = base / str(number)
            folder.mkdir()
            server = running_postgres(folder / "postgres" / "data", settings={"max_connections": "200"})
            made.append(Workplace(root, folder / "copy", stack.enter_context(server) if postgres else None))
        yield made


def verdict(workplace: Workplace, mutant: Mutant, known: Baseline) -> Verdict:
    """Put the fault in, and run the tests that may notice it until one does."""
    tests = known.tests_for(mutant)
    if not tests:
        return Verdict.SURVIVED
    limit_s = LIMIT_MARGIN_S + LIMIT_FACTOR * sum(known.seconds[test] for test in tests)
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    workplace.put(mutant)
    try:
        code = exit_code(workplace.start(files, [Chosen(tests)], workplace.folder.parent / "trial.log"), limit_s)
    finally:
        workplace.take_back(mutant)
    return Verdict.TIMED_OUT if code is None else Verdict.SURVIVED if code in UNNOTICED else Verdict.KILLED


def verdicts(
    places: Sequence[Workplace], mutants: Sequence[Mutant], known: Baseline
) -> Iterator[tuple[Mutant, Verdict]]:
    """What comes of each fault, as soon as it is known."""
    context = multiprocessing.get_context("fork")
    free: SimpleQueue[int] = context.SimpleQueue()
    for number in range(len(places)):
        free.put(number)
    with context.Pool(len(places), _settle, (places, free)) as pool:
        yield from pool.imap_unordered(_try, [(mutant, known) for mutant in mutants])


def _settle(places: Sequence[Workplace], free: SimpleQueue[int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the pool ends its processes by it
    _own.append(places[free.get()])


def _try(job: tuple[Mutant, Baseline]) -> tuple[Mutant, Verdict]:
    return job[0], verdict(_own[0], *job)
