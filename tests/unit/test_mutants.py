"""`make mutants` makes the faults it says, notices what lives, and fails if too much does."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.baseline import Lines
from tests.mutants.lua_mutants import lua_mutants
from tests.mutants.mutation import Mutant
from tests.mutants.python_mutants import python_mutants
from tests.mutants.report import Equal, Report, read_equal, without_equal
from tests.mutants.subjects import TABLE, mutants_of, subjects
from tests.mutants.trial import Verdict

ROOT = Path(__file__).resolve().parents[2]
LUA = """-- if 1 then
local n = redis.pcall('GET', KEYS[1])
if n == 1 and ARGV[1] then
  redis.call('DEL',
    KEYS[2])
  n = n + 1
end
return n
"""
WAITS = """import asyncio

async def waits():
    try:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    except TimeoutError:
        where = "here"
    return where
"""
PYTHON = '''"""Words 1."""
import logging
from dataclasses import dataclass
log = logging.getLogger("a")

@dataclass(frozen=True)
class Thing:
    size: int = 1

    @property
    def big(self) -> bool:
        """Whether it is."""
        if self.size < 0:
            raise ValueError("a word")
        log.info("words", extra={"size": self.size})
        return self.size > 5
'''


def changes(mutants: list[Mutant]) -> set[tuple[str, str]]:
    """The lines that go and come."""
    return {each.difference for each in mutants}


def test_faults_of_a_script() -> None:
    found = changes(lua_mutants("a.lua", LUA))
    condition = "if n == 1 and ARGV[1] then"
    assert found >= {
        (condition, "if not (n == 1 and ARGV[1]) then"),
        (condition, "if n ~= 1 and ARGV[1] then"),
        (condition, "if n == 2 and ARGV[1] then"),
        (condition, "if n == 1 or ARGV[1] then"),
        (condition, "if n == 1 and ARGV[2] then"),
        ("redis.call('DEL',\nKEYS[2])", ""),
        ("KEYS[2])", "KEYS[3])"),
        ("redis.call('DEL',", "redis.call('XXDEL',"),
        ("n = n + 1", ""),
        ("n = n + 1", "n = n - 1"),
        ("local n = redis.pcall('GET', KEYS[1])", "local n = redis.call('GET', KEYS[1])"),
    }
    assert not any(gone.startswith("--") for gone, _ in found)


def test_faults_of_a_module_are_of_what_it_decides_and_not_of_its_words() -> None:
    mutants = python_mutants("a.py", PYTHON)
    found = changes(mutants)
    assert found >= {
        ("return self.size > 5", "return self.size >= 5"),
        ("return self.size > 5", "return self.size > 6"),
        ("if self.size < 0:", "if self.size <= 0:"),
        ("size: int = 1", "size: int = 2"),
    }
    assert not any(gone.startswith("log.") for gone, _ in found)
    assert not any("XX" in new for _, new in found if "log = " not in new)
    assert all(f'"""{word}"""' in each.changed for each in mutants for word in ("Words 1.", "Whether it is."))
    assert all("@dataclass(frozen=True)" in each.changed and "import logging\n" in each.changed for each in mutants)
    assert all(each.line == each.original[: each.original.find(each.difference[0])].count("\n") + 1 for each in mutants)


@pytest.mark.parametrize("path", ["shared/streams/lua/publish.lua", "inference_worker/lane.py"])
def test_each_fault_is_a_change_and_stands_where_it_says(path: str) -> None:
    mutants = mutants_of(ROOT, path)
    assert len(mutants) > 100
    for mutant in mutants[::17]:
        assert mutant.changed != mutant.original
        assert str(mutant).startswith(f"{path}:{mutant.line}\n-")


def test_what_is_tried_exists_and_so_do_its_tests() -> None:
    for path, tests in subjects(ROOT, TABLE, []):
        assert (ROOT / path).is_file()
        assert all((ROOT / test).is_file() for test in tests), path
    assert [path for path, _ in subjects(ROOT, TABLE, ["lane"])] == ["inference_worker/lane.py"]
    with pytest.raises(FileNotFoundError, match="gone.py is in tests/mutants/subjects.py"):
        list(subjects(ROOT, {"gone.py": ()}, []))


def test_every_critical_module_is_tried() -> None:
    shown = ["make", "--silent", "--eval", "show: ; @echo $(CRITICAL_MODULES)", "show"]
    critical = subprocess.run(shown, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert set(critical) <= {path for path, _ in subjects(ROOT, TABLE, [])}


def test_what_is_equal_is_left_out_and_what_no_longer_exists_is_found() -> None:
    mutants = lua_mutants("a.lua", "local n = 1\n")
    listed = [
        Equal("a.lua", "local n = 1", "local n = 2", "why"),
        Equal("a.lua", "local m = 1", "local m = 2", "why"),
        Equal("b.lua", "of a file", "that is not tried", "why"),
    ]
    rest, stale = without_equal(mutants, listed)
    assert rest == [] and stale == [listed[1]]


def test_the_list_of_equal_faults_names_lines_that_exist_with_reasons(tmp_path: Path) -> None:
    listed = read_equal(ROOT / "tests" / "mutants" / "equal.toml")
    for each in listed:  # whether that is a fault that is tried, `make mutants` says: it takes minutes
        lines = {line.strip() for line in (ROOT / each.path).read_text(encoding="utf-8").splitlines()}
        assert lines >= {line.strip() for line in each.gone.splitlines()}, each
    silent = tmp_path / "equal.toml"
    silent.write_text('[[equal]]\npath = "a.lua"\nfrom = "x"\nto = "y"\nwhy = " "\n', encoding="utf-8")
    with pytest.raises(ValueError, match="no reason why in a.lua 'x' may become 'y'"):
        read_equal(silent)


async def test_a_line_is_known_to_a_test_also_after_a_time_out(tmp_path: Path) -> None:
    module = tmp_path / "waits.py"
    module.write_text(WAITS)
    names: dict[str, Any] = {}
    exec(compile(WAITS, str(module), "exec"), names)
    lines, before = Lines(tmp_path, ["waits.py", "another.py"]), sys.gettrace()
    lines.test = "a test"
    lines.start()
    try:
        assert await names["waits"]() == "here"
    finally:
        threading.settrace(before)
        sys.settrace(before)
    assert lines.found == {"waits.py": {number: {"a test"} for number in range(4, 10)}, "another.py": {}}


def test_a_report_counts_what_was_noticed() -> None:
    report = Report()
    for verdict, count in ((Verdict.KILLED, 17), (Verdict.TIMED_OUT, 2), (Verdict.SURVIVED, 1)):
        for _ in range(count):
            report.add(Mutant("a.py", 1, "a", "b"), verdict)
    assert report.killed_percent == 95.0
    assert report.lines()[1].split() == ["a.py", "20", "17", "1", "2", "95.0"]


@pytest.mark.timeout(300)
def test_a_hollow_test_is_found_out() -> None:
    """The whole tool, over an example whose test notices almost nothing."""
    command = [sys.executable, "-m", "tests.mutants", "--known-bad", "--processes", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "survived: tests/fixtures/mutants/hollow.py:8" in done.stdout
    assert "hollow.py:13" not in done.stdout  # the sound test notices every fault there
    assert "27.3 % of the faults were noticed (at least 95)" in done.stdout
