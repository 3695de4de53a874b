"""The configuration that supervisord is given: what it keeps running, how it stops it, and where it logs.

Nothing starts by itself: `up` starts each service when it can work. From then on supervisord keeps it running. Stopping
is supervisord's alone, stage after stage in the direction of the flow, so it is the same for `make down` and for a
machine that shuts down. Environments are not in here, see extension.py.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from scripts.stack.errors import StackError
from scripts.stack.services import Service
from scripts.stack.supervisord import CONFIGURATION, UMASK, socket_path

SUPERVISOR_LOG = "supervisor.log"
LOG_BYTES = 5 * 2**20
ENDLESS_RETRIES = 10**9
OPTIONAL_RETRIES = 3
# An end within these seconds of a start lets the next start wait.
STABLE_S = 10

Section = Mapping[str, object]


def write_configuration(run: Path, logs: Path, services: Sequence[Service]) -> None:
    """Write the configuration into `run`.

    Raises:
        StackError: supervisord's syntax can't hold a path or an argument.
    """
    sections = {
        **_general(run, logs),
        **_groups(services),
        **{f"program:{s.name}": _program(s, logs) for s in services},
    }
    lines = [line for name, section in sections.items() for line in _lines(name, section)]
    socket_path(run).parent.mkdir(mode=0o700, exist_ok=True)
    (run / CONFIGURATION).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _general(run: Path, logs: Path) -> dict[str, Section]:
    supervisord = {
        "logfile": logs / SUPERVISOR_LOG,
        "logfile_maxbytes": 0,  # supervisord would die of a full disk when it puts its own log aside; `up` does that
        "pidfile": run / "supervisord.pid",
        "childlogdir": logs,
        "umask": f"{UMASK:03o}",
        "minfds": 256,
        "minprocs": 1,
        **({"user": "root"} if os.geteuid() == 0 else {}),  # or it warns that it is root
    }
    factory = "supervisor.rpcinterface_factory"
    return {
        "supervisord": supervisord,
        "unix_http_server": {"file": socket_path(run), "chmod": "0700"},
        "rpcinterface:supervisor": {factory: "supervisor.rpcinterface:make_main_rpcinterface"},
        "rpcinterface:millstream": {factory: "scripts.stack.extension:make_interface"},
    }


def _groups(services: Sequence[Service]) -> dict[str, Section]:
    """A group a stage: the one with the highest priority is stopped first, and the next when all of it is gone."""
    ordered = sorted(services, key=lambda each: each.stage)
    return {
        f"group:{stage.group}": {"programs": ",".join(each.name for each in members), "priority": int(stage)}
        for stage, members in groupby(ordered, key=lambda each: each.stage)
    }


def _program(service: Service, logs: Path) -> Section:
    return {
        "command": shlex.join(service.command),
        "directory": service.directory,
        "autostart": "false",
        "autorestart": "true",
        "startsecs": STABLE_S,
        "startretries": OPTIONAL_RETRIES if service.optional else ENDLESS_RETRIES,
        "stopsignal": service.stop_signal.name.removeprefix("SIG"),
        "stopwaitsecs": math.ceil(service.grace_s),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": logs / f"{service.name}.log",
        "stdout_logfile_maxbytes": LOG_BYTES,
        "stdout_logfile_backups": 1,
    }


def _lines(name: str, section: Section) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in section.items():
        yield f"{key}={_checked(str(value))}"


def _checked(value: str) -> str:
    """The value; refused if supervisord would take a part of it for a comment, or for a variable."""
    if re.search(r"%|[\r\n]|\s[;#]", value):
        raise StackError(
            f"supervisord can't be given {value!r}: no %, no line end, and no ; or # after a space. "
            "Move the repository, or name another folder: MILLSTREAM_HOME=…"
        )
    return value
