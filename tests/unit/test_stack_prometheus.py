"""Prometheus beside the native stack: found or not, in the way or not, the stack goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.stack import dotenv, prometheus
from scripts.stack.config import ROOT, StackConfig, load
from scripts.stack.services import native_stack


def config_of(tmp_path: Path) -> StackConfig:
    return load(
        {
            **dict.fromkeys(dotenv.SECRETS, "x"),
            "MILLSTREAM_HOME": str(tmp_path),
            "PROMETHEUS_PORT": "9190",
            "GATEWAY_PORT": "8100",
        }
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Prometheus is installed and its port is free."""
    monkeypatch.setattr(prometheus, "program", lambda: Path("/usr/bin/prometheus"))
    monkeypatch.setattr(prometheus, "is_taken", lambda port: False)


@pytest.mark.usefixtures("installed")
def test_it_scrapes_the_ports_that_the_services_have(tmp_path: Path) -> None:
    stack = {each.name: each for each in native_stack(config_of(tmp_path)).services}
    unit = stack["prometheus"]
    assert unit.optional and "--web.listen-address=127.0.0.1:9190" in unit.command
    unit.prepare()
    unit.prepare()
    folder = tmp_path / "prometheus"
    groups = json.loads((folder / "targets" / "native.yml").read_text(encoding="utf-8"))
    assert [(each["labels"]["job"], each["targets"][0]) for each in groups] == [
        ("gateway", "127.0.0.1:8010"),
        ("worker", f"127.0.0.1:{stack['worker-summarization'].port}"),
        ("worker", "127.0.0.1:8001"),
        ("persister", "127.0.0.1:8002"),
    ]
    assert "127.0.0.1:9190" in (folder / "prometheus.yml").read_text(encoding="utf-8")
    assert sorted(path.name for path in (folder / "rules").iterdir()) == ["alerts.yml", "recording.yml"]


def test_a_stack_without_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "program", lambda: None)
    config = config_of(tmp_path)
    assert "prometheus" not in {each.name for each in native_stack(config).services}
    assert "apt install prometheus" in prometheus.hint(config, None)


def test_a_taken_port_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "program", lambda: Path("/usr/bin/prometheus"))
    monkeypatch.setattr(prometheus, "is_taken", lambda port: True)
    config = config_of(tmp_path)
    assert "prometheus" not in {each.name for each in native_stack(config).services}
    assert "PROMETHEUS_PORT=9191" in prometheus.hint(config, None)


@pytest.mark.parametrize(("runs", "said"), [(True, "http://localhost:9190"), (False, "prometheus.log")])
def test_the_summary_says_where_it_is(tmp_path: Path, runs: bool, said: str) -> None:
    assert said in prometheus.hint(config_of(tmp_path), runs)


def test_the_program_is_looked_for_on_the_path_and_where_debian_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(prometheus, "SYSTEM_PROGRAM", tmp_path / "elsewhere")
    assert prometheus.program() is None
    (tmp_path / "elsewhere").touch(0o755)
    assert prometheus.program() == tmp_path / "elsewhere"
    (tmp_path / "prometheus").touch(0o755)
    assert prometheus.program() == tmp_path / "prometheus"


def test_the_checked_in_targets_are_the_default_ports() -> None:
    text = (ROOT / "monitoring" / "targets" / "native.yml").read_text(encoding="utf-8")
    assert all(f'"127.0.0.1:{port}"' in text for port in (8010, 8001, 8002))
