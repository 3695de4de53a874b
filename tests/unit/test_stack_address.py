"""Where the running stack's gateway is: as the native stack wrote down, or as docker compose says."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.stack import address
from scripts.stack.address import NOTHING_RUNS, native_gateway, published, running_gateway
from scripts.stack.config import StackConfig, load
from scripts.stack.errors import StackError
from scripts.stack.record import Record, write_record
from tests.unit.test_stack_engine import fake_docker


@pytest.fixture
def config(tmp_path: Path) -> StackConfig:
    """A stack whose `.env` would have its gateway at 9000, and that was started with 9001."""
    made = load({"MILLSTREAM_HOME": str(tmp_path), "GATEWAY_PORT": "9000"}, tmp_path)
    made.run.mkdir()
    write_record(made.run, Record({"GATEWAY_PORT": 9001}, ()))
    return made


def test_a_native_stack_that_runs_is_where_it_was_started(config: StackConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "is_running", lambda run: True)
    assert native_gateway(config) == "http://localhost:9001"
    assert running_gateway(config) == running_gateway(config, "native") == "http://localhost:9001"


def test_what_an_ended_stack_wrote_down_counts_no_more(config: StackConfig) -> None:
    assert native_gateway(config) is None


@pytest.mark.parametrize(
    ("body", "url"),
    [
        ("echo 127.0.0.1:9002", "http://127.0.0.1:9002"),
        ("echo 0.0.0.0:9002; echo '[::]:9002'", "http://127.0.0.1:9002"),
        ("echo '[::]:9002'", "http://[::1]:9002"),
        ("echo :0", None),
        ("echo 'no container found' >&2; exit 1", None),
    ],
)
def test_compose_says_where_it_published_a_port(tmp_path: Path, body: str, url: str | None) -> None:
    program = fake_docker(tmp_path, f'[ "$*" = "compose port gateway 8000" ] || exit 9\n{body}')
    assert published("gateway", 8000, program) == url


def test_no_docker_publishes_nothing(tmp_path: Path) -> None:
    assert published("gateway", 8000, str(tmp_path / "docker")) is None


def test_the_stack_that_is_named_is_asked(config: StackConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "is_running", lambda run: True)
    monkeypatch.setattr(address, "published", lambda service, port: "http://127.0.0.1:9002")
    assert running_gateway(config, "compose") == "http://127.0.0.1:9002"
    assert running_gateway(config) == "http://localhost:9001"
    monkeypatch.setattr(address, "is_running", lambda run: False)
    assert running_gateway(config) == "http://127.0.0.1:9002"
    with pytest.raises(StackError, match="nothing runs here: make up"):
        running_gateway(config, "native")


def test_nothing_running_is_told(
    config: StackConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLSTREAM_HOME", str(config.home))
    monkeypatch.setattr("sys.argv", ["address", "native"])
    assert address.main() == 1
    assert NOTHING_RUNS in capsys.readouterr().err
