"""The supervisor as a background process: `python -m scripts.stack supervise`, started by `up`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from scripts.stack.config import StackConfig
from scripts.stack.errors import ProcessFailed, StackError
from scripts.stack.services import native_stack
from scripts.stack.state import StackStatus, supervisor_lock, write_status
from scripts.stack.strays import clear_strays
from scripts.stack.supervisor import Supervisor

ALREADY_RUNNING = 75


def stack_mark(config: StackConfig) -> str:
    """What the processes of this stack carry in their environment."""
    return str(config.home)


def supervise(config: StackConfig) -> int:
    """Run the stack until SIGTERM; returns the exit code."""
    with supervisor_lock(config.run) as held:
        if not held:
            return ALREADY_RUNNING
        status = StackStatus(os.getpid())
        try:
            supervisor = Supervisor(native_stack(config), status, config.run, config.logs, stack_mark(config))
            asyncio.run(_run(supervisor))
        except ProcessFailed as error:
            _say(str(error))
            return 1
        except (StackError, OSError) as error:
            status.phase, status.message = "failed", str(error)
            write_status(config.run, status)
            _say(str(error))
            return 1
        finally:
            clear_strays(config.run, stack_mark(config))
    return 0


async def _run(supervisor: Supervisor) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await supervisor.run(stop)


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}", file=sys.stderr, flush=True)
