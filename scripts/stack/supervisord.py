"""supervisord as the commands see it: started, asked and told over its socket, and gone when nothing answers there.

Only the standard library: whether a stack runs is asked before anything is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import xmlrpc.client  # nosec B411: what answers on the socket, in a folder of our own, is our own supervisord
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.stack.errors import StackError

CONFIGURATION = "supervisord.conf"
SOCKET = "supervisord.sock"
UMASK = 0o027  # what it and its processes write, logs first of all, is not for all to read
ANSWER_TIMEOUT_S = 5.0
SHUTTING_DOWN = 6  # supervisord's fault code
# Bytes of a socket's path, less those of the number that supervisord adds to it while it binds.
LONGEST_SOCKET_PATH = 104 - 9


class NotRunning(StackError):
    """supervisord does not answer, or is on its way out."""


@dataclass(frozen=True)
class Process:
    """One process as supervisord sees it.

    Attributes:
        state: stopped, starting, running, backoff, stopping, exited, fatal or unknown.
        pid: 0 if there is none.
        started_at: seconds since the epoch, of its last start.
        restarts: how often it was started again after it had ended by itself.
    """

    name: str
    state: str
    pid: int = 0
    started_at: float = 0
    restarts: int = 0


def socket_path(run: Path) -> Path:
    """Where supervisord listens: in `run`, or in a folder of ours under /tmp if that path is too long for a socket.

    Raises:
        StackError: that folder is somebody else's.
    """
    path = run / SOCKET
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    folder = Path(f"/tmp/millstream-{hashlib.sha256(os.fsencode(run)).hexdigest()[:16]}")  # nosec B108: checked below
    if not folder.exists():
        return folder / SOCKET  # it is made with the configuration
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) != 0o700:
        raise StackError(
            f"{folder} is not ours alone: remove it, or name a folder with a short path in MILLSTREAM_HOME"
        )
    return folder / SOCKET


def is_running(run: Path) -> bool:
    """Whether a supervisord listens on the socket in this folder."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(ANSWER_TIMEOUT_S)
        probe.connect(str(socket_path(run)))
        return True
    return False


def launch(
    run: Path, environment: Mapping[str, str], environments: Mapping[str, Mapping[str, str]], root: Path
) -> None:
    """Start supervisord in the background over the configuration in `run`; it answers when this returns.

    Args:
        environment: its own, which every process inherits.
        environments: what each process has besides, by its name; passed through a pipe.
        root: where the extension is imported from.

    Raises:
        StackError: it refused to start.
    """
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(run / CONFIGURATION)],
        input=json.dumps(environments),
        text=True,
        capture_output=True,
        env=dict(environment),
        cwd=root,
        start_new_session=True,
        umask=UMASK,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"supervisord did not start:\n{(done.stderr or done.stdout).strip()}")


class Supervisord:
    """A running supervisord; every call may raise NotRunning."""

    def __init__(self, run: Path) -> None:
        self._path = str(socket_path(run))

    def pid(self) -> int:
        return int(self._call("supervisor.getPID"))

    def processes(self) -> dict[str, Process]:
        """All processes, by name."""
        return {each["name"]: Process(**each) for each in self._call("millstream.processes")}

    def start(self, group: str, name: str) -> None:
        """Start a process, without waiting for anything.

        Raises:
            StackError: the program can't be executed.
        """
        try:
            self._call("supervisor.startProcess", f"{group}:{name}", False)
        except xmlrpc.client.Fault as fault:
            raise StackError(fault.faultString) from fault

    def shut_down(self) -> None:
        """Have it stop everything, in the order of the configuration, and end."""
        self._call("supervisor.shutdown")

    def _call(self, method: str, *arguments: str | bool) -> Any:
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(self._path)) as server:
                return getattr(server, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == SHUTTING_DOWN:
                raise NotRunning("the stack is stopping") from fault
            raise
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise NotRunning("supervisord does not answer") from error


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket, with a deadline."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """A connection that the parent closes when the call is over."""
        made = _Connection(self._path)
        self._connection = host, made
        return made


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
