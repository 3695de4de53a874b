"""Running tests over a copy of the repository, in processes forked from this one, so that no import is paid twice."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

# What most tests import of others; imported here, each fork has it.
import aiohttp.test_utils  # noqa: F401
import asyncpg  # noqa: F401
import opentelemetry.sdk.trace.export  # noqa: F401
import prometheus_client  # noqa: F401
import psycopg  # noqa: F401
import pydantic_settings  # noqa: F401
import pytest
import redis.asyncio  # noqa: F401
import yoyo  # noqa: F401

from scripts.stack.postgres import PostgresServer
from tests.mutants.mutation import Mutant
from tests.processes import descendants

SHARED = (".cache", ".venv", "models/artifacts")  # not in git; never changed by a test


def load_plugins() -> None:
    """Load the plugins of pytest, so that no fork has to; nothing of the program, which each takes from its copy."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        pytest.main(["--markers", "--noconftest", f"-c{os.devnull}", "-p", "no:cacheprovider"])


class SharedPostgres:
    """A pytest plugin: tests are given a Postgres that runs already, since its start costs seconds."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    def pytest_sessionstart(self) -> None:
        """The fixtures of tests/conftest.py find the server."""
        vars(sys.modules["tests.conftest"])["running_postgres"] = lambda *_, **__: nullcontext(self._server)


class Workplace:
    """A copy of the repository, and a Postgres if the tests need one.

    Attributes:
        folder: where the copy is.
    """

    def __init__(self, root: Path, folder: Path, postgres: PostgresServer | None) -> None:
        self.folder = folder
        self._plugins = [] if postgres is None else [SharedPostgres(postgres)]
        for name in _files(root):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
        for name in SHARED:
            if (root / name).exists() and not (folder / name).exists():
                (folder / name).symlink_to((root / name).resolve())

    def put(self, mutant: Mutant) -> None:
        """Put a fault into the copy."""
        self._write(mutant.path, mutant.changed)

    def take_back(self, mutant: Mutant) -> None:
        """Take the fault out again."""
        self._write(mutant.path, mutant.original)

    def _write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.write_text(text, encoding="utf-8")
        for stale in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
            stale.unlink()

    def start(self, tests: Sequence[str], plugins: Sequence[object], log: Path, *, keep_bytecode: bool = False) -> int:
        """Start test files in a process of their own; the answer is its pid, and it exits with pytest's code."""
        gc.freeze()  # the fork need not look again at what is here already
        pid = os.fork()
        if pid:
            return pid
        code = int(pytest.ExitCode.INTERNAL_ERROR)
        try:
            self._settle(log, keep_bytecode)
            arguments = ["-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--rootdir=.", *tests]
            code = int(pytest.main(arguments, plugins=[*self._plugins, *plugins]))
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _settle(self, log: Path, keep_bytecode: bool) -> None:
        """Become a process that knows the copy only."""
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(self.folder)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "" if keep_bytecode else "1"
        sys.dont_write_bytecode = not keep_bytecode
        sys.path[0] = str(self.folder)
        for name in [each for each in sys.modules if each.split(".")[0] in ("tests", "scripts")]:
            del sys.modules[name]


def _files(root: Path) -> list[str]:
    """What git keeps or would keep."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (root / name).is_file()]


def exit_code(pid: int, limit_s: float) -> int | None:
    """Wait for a process; None if it took longer than the limit. What it has started ends with it."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        below = descendants(pid)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            for each in below:
                _kill(each)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    for each in [*descendants(pid), pid]:
        _kill(each)
    os.waitpid(pid, 0)
    return None


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
