"""Peers as processes, for the length of a block."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scripts.stack.ports import free_port
from tests.load.peers.packages import environment, python_of
from tests.processes import REPOSITORY, wait_until

READY_S = 120


class Peer(NamedTuple):
    """A running peer: where it answers, and its processes."""

    port: int
    pids: list[int]


@contextmanager
def queue(name: str, redis_url: str, body: Mapping[str, object], log: Path) -> Iterator[Peer]:
    """A job queue behind the handler that all have."""
    port = free_port()
    module = f"tests.load.peers.queues.with_{name}"
    commands = [["worker", redis_url], ["gateway", str(port), redis_url]]
    with _processes(name, module, commands, log, lambda: answer(port, "/api/v1/predict", body) is not None) as pids:
        yield Peer(port, pids)


@contextmanager
def model_server(name: str, body: Mapping[str, object], log: Path) -> Iterator[Peer]:
    """A model server."""
    port = free_port()
    module = f"tests.load.peers.models.with_{name}"
    with _processes(name, module, [[str(port)]], log, lambda: answer(port, "/predict", body) is not None) as pids:
        yield Peer(port, pids)


def answer(port: int, path: str, body: Mapping[str, object]) -> Any:
    """What is answered to one request, read from JSON; None: no success."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)
    except (OSError, urllib.error.URLError):
        return None


@contextmanager
def _processes(
    name: str, module: str, commands: list[list[str]], log: Path, ready: Callable[[], bool]
) -> Iterator[list[int]]:
    python = python_of(name)
    with log.open("ab") as output:
        started = [
            subprocess.Popen(
                [python, "-m", module, *arguments],
                cwd=REPOSITORY,
                env=environment(name),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            for arguments in commands
        ]

    def answers() -> bool:
        assert all(each.poll() is None for each in started), f"{name} ended:\n{log.read_text(errors='replace')[-2000:]}"
        return ready()

    try:
        wait_until(answers, f"{name} answers", READY_S)
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)  # what it has left behind
    except ProcessLookupError:
        pass
    process.wait()
