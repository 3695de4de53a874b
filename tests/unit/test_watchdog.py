"""A process in which a loop is stuck ends, so that it is started again; one that was only paused goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.processes import REPOSITORY

PROGRAM = """
import asyncio, logging, sys, time
from shared.service.liveness import Liveness
from shared.service.logs import configure_logging
from shared.service.settings import Settings
from shared.service.stderr import queue_stderr
from shared.service.watchdog import end_if_stuck

async def main():
    liveness, stop = Liveness(0.5), asyncio.Event()
    end_if_stuck(liveness, 1.5)
    liveness.moved("read")
    {work}

queue_stderr(lambda lines: None)
configure_logging(Settings(log_format="console"), "x")
asyncio.run(main())
"""


def process(work: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM.format(work=work)]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("work", "where"), [("time.sleep(600)", ", in main"), ("await asyncio.Event().wait()", "run_once")]
)
def test_a_loop_that_is_stuck_ends_the_process_and_it_is_said_where(work: str, where: str) -> None:
    with process(work) as stuck:
        _, told = stuck.communicate(timeout=60)
    assert stuck.returncode == 1
    assert "ended, since a loop is stuck" in told and "'read'" in told and where in told


def test_a_process_that_was_paused_goes_on() -> None:
    work = "print('begun', flush=True); await liveness.wait('read', stop, 4); print('done')"
    with process(work) as paused:
        assert paused.stdout is not None and paused.stdout.readline() == "begun\n"
        paused.send_signal(signal.SIGSTOP)
        time.sleep(3)  # longer than both limits together
        paused.send_signal(signal.SIGCONT)
        said, told = paused.communicate(timeout=60)
    assert (paused.returncode, said) == (0, "done\n"), told
