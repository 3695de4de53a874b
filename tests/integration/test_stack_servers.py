"""The real Postgres and Redis of the local stack: started, stopped, killed, and started again over the same data."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from scripts.stack.errors import ProcessFailed, StackError
from scripts.stack.postgres import PostgresServer, running_postgres
from scripts.stack.processes import descendants, wait_gone
from scripts.stack.redis import ping, running_redis
from scripts.stack.streams import look, render
from scripts.stack.unprivileged import current_wrapper, wrapper_for
from shared.contract.catalogue import parse_catalogue
from shared.contract.keys import Keys
from shared.contract.registry import RegisteredModel, RegisteredVersion, Registry
from shared.streams.model_registry import CONTENT
from tests.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]


def rows(url: str) -> list[tuple[int]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT n FROM kept ORDER BY n").fetchall()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach; not below pytest's, which each run of it closes to them."""
    with tempfile.TemporaryDirectory(prefix="ms-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with running_postgres(tmp_path_factory.mktemp("stack") / "pg") as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        yield server


def test_postgres_keeps_its_data_when_stopped_and_when_killed(postgres: PostgresServer) -> None:
    for number, end in enumerate((postgres.stop, postgres.kill)):
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", (number,))
        assert postgres.process is not None
        processes = [postgres.process.pid, *descendants(postgres.process.pid)]
        end()
        assert wait_gone(processes, 10)
        assert not postgres.is_running()
        postgres.start()
    assert rows(postgres.url) == [(0,), (1,)]


@pytest.mark.skipif(sys.platform != "linux", reason="what a pid is of is read from /proc")
def test_postgres_starts_after_a_power_cut_whoever_has_its_pid_by_now(postgres: PostgresServer) -> None:
    assert postgres.process is not None
    lock = postgres.directory / "postmaster.pid"
    written = lock.read_text(encoding="utf-8")
    postgres.kill()
    with subprocess.Popen([*current_wrapper().prefix, "sleep", "600"]) as other:
        wait_until(lambda: Path(f"/proc/{other.pid}/comm").read_text(encoding="utf-8") == "sleep\n", "it sleeps")
        lock.write_text("\n".join([str(other.pid), *written.splitlines()[1:]]) + "\n", encoding="utf-8")
        try:
            postgres.start()
            assert rows(postgres.url)
        finally:
            other.kill()


def test_postgres_asks_for_the_password(postgres: PostgresServer) -> None:
    wrong = PostgresServer(postgres.directory, postgres.port, "wrong").url
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_postgres_takes_a_new_password_over(postgres: PostgresServer) -> None:
    postgres.stop()
    postgres.password = "it's new"
    postgres.prepare_with_password()
    postgres.start()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


def test_postgres_files_are_its_owners_only(postgres: PostgresServer) -> None:
    assert stat.S_IMODE(postgres.directory.stat().st_mode) == 0o700


def test_a_server_that_can_not_start_says_why_and_leaves_nothing(postgres: PostgresServer, tmp_path: Path) -> None:
    with (
        pytest.raises(ProcessFailed, match="Address already in use"),
        running_postgres(tmp_path / "pg", port=postgres.port),
    ):
        pass


def test_a_failing_initdb_says_why(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("initdb", "postgres"):
        program = tmp_path / "bin" / name
        program.write_text("#!/bin/sh\necho no room >&2\nexit 1\n", encoding="utf-8")
        program.chmod(0o755)
    server = PostgresServer(tmp_path / "data", 1, "x", programs=tmp_path / "bin", wrapper=wrapper_for(1000, False))
    with pytest.raises(StackError, match="no room"):
        server.prepare()
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root falls back to another user")
def test_postgres_as_another_user_where_namespaces_are_refused(open_folder: Path) -> None:
    with running_postgres(open_folder / "pg", wrapper=wrapper_for(0, namespaces=False)) as server:
        assert server.process is not None
        assert Path(f"/proc/{server.process.pid}").stat().st_uid != 0
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_redis_keeps_its_data_when_stopped_and_when_killed(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis", appendfsync="always") as server:
        for number, end in enumerate((server.stop, server.kill)):
            with Redis.from_url(server.url) as client:
                client.rpush("kept", number)
            end()
            assert not ping(server.port)
            server.start()
        with Redis.from_url(server.url) as client:
            assert client.lrange("kept", 0, -1) == [b"0", b"1"]
            assert "noeviction" in client.config_get("maxmemory-policy").values()


def test_a_paused_redis_answers_nothing_until_it_goes_on(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as server:
        server.pause()
        assert not ping(server.port)
        server.resume()
        assert ping(server.port)


def test_streams_are_shown_without_redis_cli(tmp_path: Path) -> None:
    keys = Keys("a[b]*:")
    with running_redis(tmp_path / "redis") as server:
        with Redis.from_url(server.url) as client:
            stream = keys.requests("sentiment-analysis", "1.0.0")
            client.xgroup_create(stream, Keys.WORKER_GROUP, id="0", mkstream=True)
            for number in range(5):
                client.xadd(stream, {"id": str(number), "input": "x" * 100})
            client.xreadgroup(Keys.WORKER_GROUP, "me", {stream: ">"}, count=2)
            client.xadd("other:requests:m:1", {"id": "not ours"})
        views = {view.key: view for view in look(server.url, keys.prefix)}
    assert set(views) == {stream, keys.results, keys.dead}
    assert not any(view.orphan for view in views.values()), "the catalogue is not known"
    assert (views[stream].depth, views[stream].pending) == (5, 2)
    assert [fields["id"] for _, fields in views[stream].last] == ["2", "3", "4"]
    assert any("… (100 characters)" in line for line in render(list(views.values())))
    with pytest.raises(StackError, match="make status"):
        look(server.url, keys.prefix)


@pytest.mark.parametrize(
    ("registered", "orphans"),
    [(None, {"2.0.0", "3.0.0"}), ({"active": True}, {"3.0.0"}), ({"active": False}, {"3.0.0"})],
)
def test_streams_of_versions_that_nobody_computes_are_marked(
    tmp_path: Path, registered: dict[str, bool] | None, orphans: set[str]
) -> None:
    """One that was registered by API is computed, as is what still waits for one that was unloaded."""
    keys, version = Keys(""), '[[models.versions]]\nversion = "1.0.0"\nartifact = "a"\ndefault = true\n'
    seed = parse_catalogue('[[models]]\nname = "m"\ntask = "feature-extraction"\ndescription = "d"\n' + version)
    with running_redis(tmp_path / "redis") as server, Redis.from_url(server.url) as client:
        for each in ("1.0.0", "2.0.0", "3.0.0"):
            client.xadd(keys.requests("m", each), {"id": "1"})
        if registered is not None:
            added = RegisteredVersion(version="2.0.0", artifact="b", digest="d", **registered)
            model = RegisteredModel(
                name="m", task="feature-extraction", description="d", generation=1, versions=(added,)
            )
            client.hset(keys.registry, CONTENT, Registry(epoch=1, models=(model,)).encode())
        marked = {each.key for each in look(server.url, keys.prefix, catalogue=seed) if each.orphan}
        assert marked == {keys.requests("m", each) for each in orphans}
        client.hset(keys.registry, CONTENT, "of a later version")
        assert not any(each.orphan for each in look(server.url, keys.prefix, catalogue=seed))


AS_NOBODY = """
import pathlib, sys
from scripts.stack.postgres import running_postgres
from scripts.stack.redis import ping, running_redis
folder = pathlib.Path(sys.argv[1])
with running_postgres(folder / "pg") as postgres, running_redis(folder / "redis") as redis:
    assert postgres.is_running() and ping(redis.port)
print("both ran")
"""


def python_of_nobody() -> str | None:
    """A Python that another user may run; root's own may be in root's home."""
    for program in (sys.executable, "/usr/bin/python3"):
        probe = ["setpriv", *IDS, program, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if shutil.which(program) and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return program
    return None


NOBODY = pwd.getpwnam("nobody").pw_uid
IDS = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user")
def test_both_servers_run_without_root(open_folder: Path) -> None:
    program = python_of_nobody()
    if program is None:
        pytest.skip("no Python that another user may run")
    os.chown(open_folder, NOBODY, NOBODY)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {"PYTHONPATH": f"{ROOT}:{packages}", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["setpriv", *IDS, program, "-c", AS_NOBODY, str(open_folder)],
        env=environment,
        cwd="/",
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "both ran\n", done.stderr
