"""Whoever writes to stderr never waits for whoever reads it; what is lost is counted, and told when it can be."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.service.stderr import MOST_WAITING_BYTES, QueuedStderr
from tests.processes import REPOSITORY

LINE = "x" * 999 + "\n"
PROGRAM = """
import logging, os, sys
from shared.service.logs import configure_logging
from shared.service.settings import Settings
from shared.service.stderr import queue_stderr
from shared.service.lifecycle import exit_code
queue_stderr(lambda lines: None)
configure_logging(Settings(), "gateway")
log = logging.getLogger("x")
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A small pipe: the end to read and the end to write."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def run(program: str, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM + program]
    return subprocess.run(command, cwd=REPOSITORY, text=True, timeout=60, check=False, **how)


def test_what_is_written_arrives_whole_and_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    stderr = QueuedStderr(writing, lambda lines: pytest.fail("dropped"))
    got = bytearray()

    def read() -> None:
        while not got.endswith(b"end\n"):
            got.extend(os.read(reading, 65_536))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(2000):
        print(f"line {number} ü", file=stderr)
    print("end", file=stderr)
    reader.join(30)
    assert got.decode().splitlines() == [*(f"line {number} ü" for number in range(2000)), "end"]
    assert stderr.wait_written(30)


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_what_is_dropped_is_told_when_it_is_read(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    dropped: list[int] = []
    stderr = QueuedStderr(writing, dropped.append)
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(logging.Formatter("%(message)s: %(lines)s"))
    monkeypatch.setattr(logging.getLogger("shared.service.stderr"), "handlers", [handler])
    lines = 3 * MOST_WAITING_BYTES // len(LINE)
    for _ in range(lines):
        stderr.write(LINE)
    assert sum(dropped) >= lines - MOST_WAITING_BYTES // len(LINE) - 1, "what waits is bounded"
    assert not stderr.wait_written(0.01)
    got = bytearray()
    while b"dropped" not in got or not got.endswith(b"\n"):
        got.extend(os.read(reading, 65_536))
    assert got.count(b"x\n") == lines - sum(dropped)
    assert got.decode().splitlines()[-1] == f"log lines dropped: {sum(dropped)}"


def test_a_full_disk_is_survived_and_told_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log"
    program = """
import resource, time
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
for number in range(50):
    log.warning("before", extra={"number": number})
while sys.stderr._bytes:
    time.sleep(0.01)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.warning("after")
"""
    with path.open("ab") as output:
        assert run(program, stderr=output).returncode == 0
    lines = path.read_text().splitlines()
    written = [json.loads(each) for each in lines if each.endswith("}") and each.count('"event"') == 1]
    assert written[0]["event"] == "before" and written[-1]["event"] == "log lines dropped"
    assert 30 < written[-1]["lines"] < 50


@pytest.mark.parametrize("ending", ["pass", "raise ValueError('no good')"])
def test_a_process_ends_in_time_although_its_pipe_is_stuck(pipe: tuple[int, int], ending: str) -> None:
    _, writing = pipe
    started = time.monotonic()
    done = run(f"for _ in range(100): log.warning('x' * 1000)\n{ending}", stderr=writing)
    assert done.returncode == (0 if ending == "pass" else 1)
    assert time.monotonic() - started < 20


def test_a_closed_stderr_is_no_connections_number() -> None:
    program = "log.warning('nobody hears'); assert os.open('/dev/null', os.O_RDONLY) > 2"
    assert run(program, preexec_fn=lambda: os.close(2)).returncode == 0


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise ValueError('no good')", "ValueError: no good"),
        ("import warnings; warnings.warn('old-fashioned')", "old-fashioned"),
        ("import threading; threading.Thread(target=lambda: 1 / 0).start()", "ZeroDivisionError"),
        ("print('said', file=sys.stderr); log.error('logged')", "logged"),
    ],
)
def test_what_is_said_last_comes_out(program: str, told: str) -> None:
    assert told in run(program, stderr=subprocess.PIPE).stderr


def test_a_fault_is_logged_on_one_line_and_a_wrong_setting_is_one_sentence() -> None:
    fault = run("def f(): raise ValueError('no good')\nsys.exit(exit_code('gateway', f))", stderr=subprocess.PIPE)
    (line,) = fault.stderr.splitlines()
    assert fault.returncode == 1 and "ValueError: no good" in json.loads(line)["exc_info"]
    wrong = run(
        "from shared.contract.errors import ConfigurationError\n"
        "def f(): raise ConfigurationError('X: wrong')\nsys.exit(exit_code('gateway', f))",
        stderr=subprocess.PIPE,
    )
    assert (wrong.returncode, wrong.stderr) == (2, "gateway: X: wrong\n")


def test_what_children_print_is_passed_on_and_never_waits(pipe: tuple[int, int]) -> None:
    program = """
import subprocess
from shared.service.stderr import queue_stderr
queue_stderr(lambda lines: None, of_children=True)
subprocess.run([sys.executable, "-c", "import os; [os.write(fd, b'x' * 1_000_000) for fd in (1, 2)]"], check=True)
"""
    assert run(program, stdout=pipe[1], stderr=pipe[1]).returncode == 0
    heard = run(program.replace("'x' * 1_000_000", "b'child says\\n'"), stderr=subprocess.PIPE)
    assert heard.stderr.count("child says") == 2
