"""`python -m scripts.stack` as a user runs it: up, status, streams, migrate, up again, down; and a start that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from scripts.stack import dotenv, prometheus
from scripts.stack.config import DEFAULT_PORTS
from scripts.stack.ports import free_port
from scripts.stack.postgres import database_url, running_postgres
from scripts.stack.redis import redis_url, running_redis
from scripts.stack.strays import clear_strays, marked
from scripts.stack.supervisord import is_running
from tests.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 90
FROM_OUTSIDE = ("DATABASE_URL", "REDIS_URL", "STACK", "MAKEFLAGS", "MAKELEVEL")  # the last ones of make test
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def home() -> Iterator[Path]:
    """A stack's folder, with a short path, as a socket needs."""
    with tempfile.TemporaryDirectory(prefix="ms-") as folder:
        yield Path(folder) / "home"


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """A stack of the test's own: its folder, its ports, and a catalogue of models that compute nothing."""
    return {
        **{name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE},
        **{name: str(free_port()) for name in DEFAULT_PORTS},
        "MILLSTREAM_HOME": str(home),
        "MODEL_CATALOGUE": "tests/fixtures/models.toml",
        "WORKER_MODELS": "echo",
        **{name: f"{name}: only for this test" for name in dotenv.NATIVE},
        "REDIS_APPENDFSYNC": "everysec",
        "SHUTDOWN_GRACE_S": "10",
    }


def run(environment: Mapping[str, str], *command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        command,
        env=dict(environment),
        cwd=ROOT,
        input=text,
        text=True,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def stack(environment: Mapping[str, str], *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command of the stack."""
    return run(environment, sys.executable, "-m", "scripts.stack", *arguments, text=text)


TELLS_WHAT_IT_WOULD_ASK = """#!/bin/sh
case "$*" in
scripts/smoke.py*) echo "smoke $2" ;;
"-m pytest"*) echo "e2e $MILLSTREAM_URL" ;;
*) exec {python} "$@" ;;
esac
"""


def make(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a target, without installing anything."""
    return run(environment, "make", "--old-file=.venv/.installed-dev", f"PYTHON={sys.executable}", *arguments)


def check_targets_find_the_gateway(environment: Mapping[str, str], program: Path) -> None:
    """The targets that ask a gateway ask that of the stack that runs, whatever the environment says of ports by now."""
    url = f"http://localhost:{environment['GATEWAY_PORT']}"
    later = {**environment, "GATEWAY_PORT": str(free_port())}
    listed = make(later, "dead-letters")
    assert json.loads(listed.stdout) == {"items": [], "next_cursor": None}, listed.stderr
    for target in ("replay", "delete-dead-letter"):
        refused = make(later, target, "ID=1-0")
        assert refused.returncode == 2 and f"{url}/api/v1/dead-letters/1-0" in refused.stderr
        assert "answered with 404: there is no dead letter" in refused.stderr
    program.write_text(TELLS_WHAT_IT_WOULD_ASK.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    for target in ("smoke", "e2e"):
        stand_in = (f"PYTHON={program}", f"BIN={program.parent}")
        assert make(later, target, *stand_in).stdout == f"{target} {url}\n"
        assert make(later, target, *stand_in, "URL=https://elsewhere").stdout == f"{target} https://elsewhere\n"


def predict(environment: Mapping[str, str]) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{environment['GATEWAY_PORT']}/api/v1/predict",
        data=b'{"model": "echo", "text": "hello", "version": "1.0.0"}',
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: dict[str, object] = json.load(answer)
        return body


def scraped(environment: Mapping[str, str]) -> set[str]:
    """The jobs that Prometheus scrapes with success."""
    url = f"http://127.0.0.1:{environment['PROMETHEUS_PORT']}/api/v1/targets"
    with urllib.request.urlopen(url, timeout=10) as answer:
        targets = json.load(answer)["data"]["activeTargets"]
    return {each["labels"]["job"] for each in targets if each["health"] == "up"}


def as_an_earlier_version_left_it(environment: Mapping[str, str], home: Path) -> None:
    """Stores with data, made before each service had a user of its own: Postgres with one, Redis without any."""
    with (
        running_postgres(home / "postgres", password=environment["POSTGRES_PASSWORD"]) as postgres,
        psycopg.connect(postgres.url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE kept (n int)")
    with running_redis(home / "redis") as server, Redis.from_url(server.url) as client:
        client.set("kept", "1")


def check_users_and_data(environment: Mapping[str, str]) -> None:
    """Everybody needs a password, services may do no more than their work, and what was there is there."""
    port = int(environment["REDIS_PORT"])
    with Redis.from_url(redis_url(port)) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()
    with Redis.from_url(redis_url(port, environment["REDIS_PASSWORD"])) as operator:
        assert operator.get("kept") == b"1"
    with Redis.from_url(redis_url(port, environment["REDIS_WORKER_PASSWORD"], "worker")) as worker:
        assert worker.ping()
        with pytest.raises(NoPermissionError):
            worker.get("kept")
    role = database_url(
        int(environment["POSTGRES_PORT"]), environment["POSTGRES_GATEWAY_PASSWORD"], "millstream_gateway"
    )
    with psycopg.connect(role) as gateway:
        assert gateway.execute("SELECT to_regclass('kept') IS NOT NULL").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            gateway.execute("SELECT * FROM kept")


def test_up_works_twice_and_down_leaves_nothing(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    try:
        as_an_earlier_version_left_it(environment, home)
        up = stack(environment, "up")
        assert up.returncode == 0, up.stdout + up.stderr
        assert "Millstream is up." in up.stdout
        assert f"localhost:{environment['GATEWAY_PORT']}/docs" in up.stdout
        assert predict(environment)["status"] == "succeeded"
        check_users_and_data(environment)
        check_targets_find_the_gateway(environment, tmp_path / "python")

        again = stack(environment, "up")
        assert (again.returncode, again.stdout.splitlines()[0]) == (0, "Millstream is running already.")

        status = stack(environment, "status")
        assert status.returncode == 0
        ready = {line.split()[0]: line.split()[-1] for line in status.stdout.splitlines()[2:]}
        assert {name for name, answer in ready.items() if answer == "yes"} == {
            *("postgres", "redis", "gateway", "worker", "persister"),
            *(["prometheus"] if prometheus.program() else []),
        }
        assert "Prometheus" in up.stdout
        if prometheus.program():
            wait_until(lambda: scraped(environment) == {"gateway", "worker", "persister", "prometheus"}, "all scraped")

        streams = stack(environment, "streams", "--count", "1")
        assert "millstream:requests:echo:1.0.0" in streams.stdout, streams.stderr
        assert stack(environment, "migrate").returncode == 0
        count = stack(environment, "psql", "-At", text="SELECT count(*) FROM predictions")
        assert count.stdout == "1\n", count.stderr

        steps = len(list((ROOT / "migrations/sql").glob("*.rollback.sql")))
        assert stack(environment, "rollback", str(steps)).returncode == 0
        gone = stack(environment, "psql", "-At", text="SELECT to_regclass('predictions') IS NULL")
        assert gone.stdout == "t\n", gone.stderr
        assert stack(environment, "migrate").returncode == 0
        assert stack(environment, "psql", "-At", text="SELECT count(*) FROM predictions").stdout == "0\n"

        down = stack(environment, "down")
        assert down.returncode == 0 and "stopped in" in down.stdout
        assert not is_running(home / "run")
        assert marked(home) == []
        assert stack(environment, "down").returncode == 0
        assert stack(environment, "status").returncode == 3
        assert stack(environment, "clean").returncode == 0 and not home.exists()
    finally:
        stack(environment, "down")
        clear_strays(home)


def test_a_version_that_does_not_load_is_named_and_the_rest_is_up(environment: dict[str, str], home: Path) -> None:
    catalogue = {"MODEL_CATALOGUE": "tests/fixtures/hostile.toml", "WORKER_MODELS": "good,cannot-load"}
    try:
        up = stack({**environment, **catalogue}, "up")
        assert up.returncode == 0, up.stdout + up.stderr
        (line,) = [each for each in up.stdout.splitlines() if "NOT SERVED" in each]
        assert "cannot-load:1: cannot load cannot-load:1: RuntimeError: the weights are torn" in line
    finally:
        stack(environment, "down")
        clear_strays(home)


def test_a_start_that_fails_shows_why_and_stops_everything(environment: dict[str, str], home: Path) -> None:
    up = stack({**environment, "MAX_BATCH_TEXTS": "0"}, "up")
    assert up.returncode == 1
    assert "gateway did not come up" in up.stderr
    assert "MAX_BATCH_TEXTS" in up.stderr
    assert not is_running(home / "run")
    assert marked(home) == []


def test_a_taken_port_is_told_before_anything_starts(environment: dict[str, str], home: Path) -> None:
    up = stack({**environment, "GATEWAY_PORT": environment["REDIS_PORT"]}, "up")
    assert (up.returncode, up.stdout) == (1, "")
    assert "give each a port of its own" in up.stderr
    assert not (home / "postgres").exists()


def test_rolling_back_wants_a_number(environment: dict[str, str]) -> None:
    for steps in ("0", "all"):
        answer = stack(environment, "rollback", steps)
        assert answer.returncode == 2 and "1 takes back the newest" in answer.stderr


def test_commands_of_a_stack_that_is_down_say_so(environment: dict[str, str]) -> None:
    assert "make status" in stack(environment, "streams").stderr
    assert "make up first" in stack(environment, "logs").stderr
    assert stack({**environment, "PATH": ""}, "redis-cli").stderr.startswith("millstream: redis-cli is not installed")
