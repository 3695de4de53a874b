"""A start over small real processes and a real supervisord: order, restarts, draining, logs, nothing left behind."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripts.stack import commands, startup, supervisord_conf
from scripts.stack.config import StackConfig, load
from scripts.stack.errors import StackError
from scripts.stack.processes import is_alive, wait_gone
from scripts.stack.record import read_record
from scripts.stack.services import Service, Stack, Stage, Task
from scripts.stack.strays import clear_strays, marked
from scripts.stack.supervisord import Supervisord, is_running
from tests.processes import wait_until

TIMEOUT_S = 20
SECRET = "only-for-the-one-that-needs-it"

# Says that it is ready by making a file, and writes into the journal when it starts and when it is asked to stop.
STAND_IN = """
import pathlib, signal, sys, threading
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def tell(what):
    with open(folder / "journal", "a") as journal:
        journal.write(f"{what} {name}\\n")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
tell("start")
(folder / name).touch()
print("here I am", flush=True)
while not stop.wait(0.05):
    pass
tell("stop")
"""
STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[2], "child").write_text(str(child.pid))
pathlib.Path(sys.argv[2], sys.argv[1]).touch()
time.sleep(600)
"""
# Writes much more than a pipe holds: it comes to its end only if somebody reads.
CHATTY = """
import pathlib, sys, time
for _ in range(20_000):
    print("x" * 50, flush=False)
sys.stdout.flush()
pathlib.Path(sys.argv[2], sys.argv[1]).touch()
time.sleep(600)
"""


@pytest.fixture
def config() -> Iterator[StackConfig]:
    """A stack in a folder with a short path, as a socket needs; nothing of it is left afterwards."""
    home = Path(tempfile.mkdtemp(prefix="ms-"))
    made = load({"POSTGRES_PASSWORD": "x", "MILLSTREAM_HOME": str(home)})
    made.run.mkdir()
    yield made
    commands.stop(made)
    shutil.rmtree(home)


def service(config: StackConfig, name: str, stage: Stage, code: str = STAND_IN, grace_s: float = 10) -> Service:
    """A service whose readiness is a file; its program is one too: supervisord's configuration holds no line ends."""
    program = config.home / f"{name}.py"
    program.write_text(code, encoding="utf-8")
    return Service(
        name,
        [sys.executable, str(program), name, str(config.home)],
        stage,
        ready=lambda pid: (config.home / name).exists(),
        grace_s=grace_s,
        start_timeout_s=TIMEOUT_S,
    )


def task(name: str, code: str) -> Task:
    return Task(name, [sys.executable, "-c", code])


def journal(config: StackConfig) -> list[str]:
    return (config.home / "journal").read_text(encoding="utf-8").splitlines()


def restarts(config: StackConfig) -> Mapping[str, int]:
    return {name: each.restarts for name, each in Supervisord(config.run).processes().items()}


def test_stores_come_first_then_tasks_then_services_and_all_stop_along_the_flow(
    config: StackConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = Stack(
        [service(config, "store", Stage.STORES)],
        [task("prepared", f"open({str(config.home / 'journal')!r}, 'a').write('task\\n')")],
        [service(config, "edge", Stage.GATEWAY), service(config, "worker", Stage.WORKERS)],
    )
    commands.start(config, stack)
    assert journal(config)[:2] == ["start store", "task"]
    assert sorted(journal(config)[2:]) == ["start edge", "start worker"]
    record = read_record(config.run)
    assert record is not None and record.complete
    told = capsys.readouterr().out
    assert [name for name in ("store", "prepared", "edge", "worker") if name in told] == list(
        ("store", "prepared", "edge", "worker")
    )
    commands.stop(config)
    assert journal(config)[-3:] == ["stop edge", "stop worker", "stop store"]
    assert "here I am" in (config.logs / "store.log").read_text(encoding="utf-8")


def test_what_is_optional_and_does_not_come_up_stops_nothing(config: StackConfig) -> None:
    broken = dataclasses.replace(service(config, "extra", Stage.GATEWAY, "raise SystemExit(3)"), optional=True)
    commands.start(config, Stack([service(config, "store", Stage.STORES)], services=[broken]))
    states = {name: each.state for name, each in Supervisord(config.run).processes().items()}
    assert states["store"] in ("starting", "running")


def test_a_crashed_service_comes_back_and_its_restarts_are_counted(config: StackConfig) -> None:
    commands.start(config, Stack([service(config, "store", Stage.STORES)]))
    for crash in range(1, 4):
        os.kill(Supervisord(config.run).processes()["store"].pid, signal.SIGKILL)
        wait_until(lambda: journal(config).count("start store") == crash + 1, "it is back")  # noqa: B023
    assert restarts(config) == {"store": 3}


FAILS = "print('what went wrong'); raise SystemExit(3)"


@pytest.mark.parametrize("kind", ["task fails", "service ends", "no program", "never ready"])
def test_what_does_not_come_up_is_told_and_stops_everything(
    config: StackConfig, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(startup, "QUIET_S", 0.0)
    bad = service(config, "bad", Stage.GATEWAY, STAND_IN if kind == "never ready" else FAILS)
    if kind == "no program":
        bad = dataclasses.replace(bad, command=["/nowhere/program"])
    if kind == "never ready":
        waiting = dataclasses.replace(bad, ready=lambda pid: False, start_timeout_s=0.5)
        bad = dataclasses.replace(waiting, reason=lambda: "loading mood:1.0.0")
    tasks, services = ([task("bad", FAILS)], []) if kind == "task fails" else ([], [bad])
    with pytest.raises(StackError, match="bad did not come up") as failed:
        commands.start(config, Stack([service(config, "store", Stage.STORES)], tasks, services))
    assert kind in ("no program", "never ready") or "what went wrong" in str(failed.value)
    if kind == "never ready":
        assert "not ready after 0 s: loading mood:1.0.0" in str(failed.value)
        assert re.search(r"bad +waits +loading mood:1.0.0", capsys.readouterr().out)
    assert "stop store" in journal(config)
    assert not is_running(config.run) and not marked(config.home)


def test_a_service_that_does_not_drain_is_killed_with_its_children(config: StackConfig) -> None:
    commands.start(config, Stack(services=[service(config, "stubborn", Stage.GATEWAY, STUBBORN, grace_s=0.5)]))
    pids = [
        int((config.home / "child").read_text(encoding="utf-8")),
        Supervisord(config.run).processes()["stubborn"].pid,
    ]
    assert all(is_alive(pid) for pid in pids)
    commands.stop(config)
    assert wait_gone(pids, TIMEOUT_S)


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of other processes is read from /proc")
def test_what_a_killed_supervisord_leaves_behind_is_found_and_ended(config: StackConfig) -> None:
    services = [service(config, "store", Stage.STORES), service(config, "stubborn", Stage.GATEWAY, STUBBORN)]
    commands.start(config, Stack(services=services))
    supervisord = Supervisord(config.run)
    left = [each.pid for each in supervisord.processes().values()]
    left.append(int((config.home / "child").read_text(encoding="utf-8")))
    killed = supervisord.pid()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not is_alive(killed), "supervisord is gone")
    assert set(left) <= set(clear_strays(config.home))
    assert wait_gone(left, TIMEOUT_S)
    assert clear_strays(config.home) == []


def log_on_a_full_disk(config: StackConfig) -> None:
    (config.logs / "chatty.log").symlink_to("/dev/full")


def log_that_cannot_be_put_aside(config: StackConfig) -> None:
    (config.logs / "chatty.log.1").mkdir()
    (config.logs / "chatty.log.1" / "in the way").touch()


@pytest.mark.parametrize("trouble", [log_on_a_full_disk, log_that_cannot_be_put_aside])
def test_a_log_that_cannot_be_written_never_stops_its_service(
    config: StackConfig, monkeypatch: pytest.MonkeyPatch, trouble: object
) -> None:
    monkeypatch.setattr(supervisord_conf, "LOG_BYTES", 10_000)
    chatty = service(config, "chatty", Stage.GATEWAY, CHATTY)
    assert callable(trouble)
    chatty = dataclasses.replace(chatty, prepare=lambda: trouble(config))
    commands.start(config, Stack(services=[chatty, service(config, "quiet", Stage.WORKERS)]))
    assert (config.home / "chatty").exists(), "it wrote all that it had to say"
    assert restarts(config) == {"chatty": 0, "quiet": 0}
    assert "exception" not in (config.logs / supervisord_conf.SUPERVISOR_LOG).read_text(encoding="utf-8")


def test_logs_are_not_for_all_to_read(config: StackConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisord_conf, "LOG_BYTES", 10_000)
    config.logs.mkdir(mode=0o755)
    (config.logs / "earlier.log").touch(mode=0o644)
    stack = Stack([service(config, "chatty", Stage.STORES, CHATTY)], [task("prepared", "print('done')")])
    commands.start(config, stack)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in config.logs.iterdir()}
    assert {"earlier.log.1", "chatty.log", "chatty.log.1", "prepared.log", supervisord_conf.SUPERVISOR_LOG} <= {*modes}
    assert set(modes.values()) == {0o640} and stat.S_IMODE(config.logs.stat().st_mode) == 0o750


def test_a_secret_reaches_the_one_service_that_needs_it_and_no_file(config: StackConfig) -> None:
    show = "import os, pathlib, sys, time; pathlib.Path(sys.argv[2], sys.argv[1]).write_text(str(dict(os.environ)))"
    show += "; time.sleep(600)"
    trusted = dataclasses.replace(service(config, "trusted", Stage.GATEWAY, show), environment={"DATABASE_URL": SECRET})
    commands.start(config, Stack(services=[trusted, service(config, "other", Stage.WORKERS, show)]))
    assert SECRET in (config.home / "trusted").read_text(encoding="utf-8")
    assert SECRET not in (config.home / "other").read_text(encoding="utf-8")
    written = [path for folder in (config.run, config.logs) for path in folder.iterdir() if path.is_file()]
    assert written and not [path for path in written if SECRET in path.read_text(encoding="utf-8")]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert SECRET not in listed
