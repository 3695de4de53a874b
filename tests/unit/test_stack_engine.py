"""Whether a Docker engine is there, and what the Makefile learns from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.engine import choose, docker_answers, main


def fake_docker(folder: Path, body: str) -> str:
    """A program that stands in for docker."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def test_a_native_stack_that_runs_is_meant_whatever_else_there_is() -> None:
    assert choose(native_is_running=True, docker_answers=True) == "native"
    assert choose(native_is_running=False, docker_answers=True) == "compose"
    assert choose(native_is_running=False, docker_answers=False) == "native"


def test_an_engine_that_answers(tmp_path: Path) -> None:
    assert docker_answers(fake_docker(tmp_path, "exit 0"))


@pytest.mark.parametrize("body", ["exit 1", '[ "$1" = info ]', "sleep 9"], ids=["no engine", "no compose", "silent"])
def test_an_engine_that_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(engine, "ANSWER_TIMEOUT_S", 0.5)
    assert not docker_answers(fake_docker(tmp_path, body))


def test_no_docker_at_all(tmp_path: Path) -> None:
    assert not docker_answers(str(tmp_path / "docker"))


def test_the_choice_and_the_summary_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path))
    monkeypatch.setattr(engine, "docker_answers", lambda: True)
    monkeypatch.setattr("sys.argv", ["engine"])
    assert main() == 0
    assert capsys.readouterr().out == "compose\n"
    monkeypatch.setattr("sys.argv", ["engine", "summary"])
    assert main() == 0
    assert "docker compose exec redis redis-cli" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["engine", "trouble"])
    assert main() == 0
    assert "profiles: [left-out]" in capsys.readouterr().out


def test_a_wrong_setting_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("REDIS_PORT", "many")
    assert main() == 1
    assert "REDIS_PORT" in capsys.readouterr().err
