"""Which tests reach which line, and how long they take: found out by running them once without a fault."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.mutants.mutation import Mutant
from tests.mutants.workplace import Workplace, exit_code

LIMIT_S = 1800.0
# What the quickest tests of its line do not notice within this time, or within this share of all tests' time on a busy
# machine, counts as surviving: direct tests are quick.
BUDGET_S, BUDGET_SHARE = 30.0, 0.25
Trace = Callable[[FrameType, str, Any], Any]
INCLUDED = re.compile(r"^-- include (\w+)$", re.MULTILINE)


class BaselineFailed(Exception):
    """The tests fail without a fault; the message holds their last lines."""


@dataclass(frozen=True)
class Baseline:
    """What the tests reach.

    Attributes:
        seconds: how long each test takes, by its id.
        lines: for each Python file, the tests that run each line.
        scripts: the tests that call each Lua script.
        files: for each file that is tried, the test files that may reach it.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[str, list[str]]]
    scripts: dict[str, list[str]]
    files: Mapping[str, Sequence[str]]

    def tests_for(self, mutant: Mutant) -> list[str]:
        """The quickest tests that may notice a fault: those that run its line; if none does, all of its files."""
        if mutant.path.endswith(".lua"):
            chosen = set(self.scripts.get(Path(mutant.path).stem, []))
        else:
            chosen = set(self.lines.get(mutant.path, {}).get(str(mutant.line), []))
            chosen = chosen or {test for test in self.seconds if test.partition("::")[0] in self.files[mutant.path]}
        quickest = sorted(chosen, key=lambda test: self.seconds[test])
        budget_s = max(BUDGET_S, BUDGET_SHARE * sum(self.seconds.values()))
        spent = accumulate(self.seconds[test] for test in quickest)
        return [test for test, so_far in zip(quickest, spent, strict=True) if so_far <= budget_s] or quickest[:1]


class Lines:
    """Notes which test runs which line.

    Before Python 3.12, coverage.py loses what a coroutine does after an exception was thrown into it, as by a time-out.

    Attributes:
        test: that runs.
        found: the tests of each line of each file.
    """

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self.test = ""
        self.found: dict[str, dict[int, set[str]]] = {path: defaultdict(set) for path in paths}
        self._tracers = {str(folder / path): self._tracer(found) for path, found in self.found.items()}

    def start(self) -> None:
        """From here on, in all threads."""
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _call(self, frame: FrameType, _event: str, _argument: object) -> Trace | None:
        return self._tracers.get(frame.f_code.co_filename)

    def _tracer(self, found: dict[int, set[str]]) -> Trace:
        def trace(frame: FrameType, event: str, _: object) -> Trace:
            if event == "line":
                found[frame.f_lineno].add(self.test)
            return trace

        return trace


class Watch:
    """A pytest plugin that notes what each test reaches, and writes it down at the end."""

    def __init__(self, folder: Path, paths: Sequence[str], written: Path) -> None:
        self._folder, self._written = folder, written
        self._lines = Lines(folder, paths)
        self._seconds: dict[str, float] = defaultdict(float)
        self._scripts: dict[str, set[str]] = defaultdict(set)

    def pytest_sessionstart(self) -> None:
        self._lines.start()
        self._watch_scripts()

    def _watch_scripts(self) -> None:
        """Note the caller of each script, also of those that it includes."""
        from shared.streams import redis_client  # the copy's; nothing of the program is imported before

        script = redis_client.Script
        made, called = script.__init__, script.__call__

        def make(this: Any, redis: Any, name: str) -> None:
            made(this, redis, name)
            text = (self._folder / f"shared/streams/lua/{name}.lua").read_text(encoding="utf-8")
            this.names = [name, *INCLUDED.findall(text)]

        async def call(this: Any, *args: Any, **kwargs: Any) -> Any:
            for name in this.names:
                self._scripts[name].add(self._lines.test)
            return await called(this, *args, **kwargs)

        vars_of: Any = script
        vars_of.__init__, vars_of.__call__ = make, call

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines.test = item.nodeid
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        lines = {
            path: {str(line): sorted(tests - {""}) for line, tests in found.items()}
            for path, found in self._lines.found.items()
        }
        scripts = {name: sorted(tests - {""}) for name, tests in self._scripts.items()}
        self._written.write_text(json.dumps({"seconds": self._seconds, "lines": lines, "scripts": scripts}))


def baseline(workplace: Workplace, files: Mapping[str, Sequence[str]]) -> Baseline:
    """Run the tests of some files without a fault.

    Raises:
        BaselineFailed: one fails.
    """
    written, log = workplace.folder.parent / "baseline.json", workplace.folder.parent / "baseline.log"
    watch = Watch(workplace.folder, [path for path in files if path.endswith(".py")], written)
    tests = list(dict.fromkeys(test for tests in files.values() for test in tests))
    code = exit_code(workplace.start(tests, [watch], log, keep_bytecode=True), LIMIT_S)
    if code != pytest.ExitCode.OK:
        raise BaselineFailed(f"without any fault, pytest ends with {code}:\n{log.read_text()[-3000:]}")
    return Baseline(**json.loads(written.read_text()), files=files)
