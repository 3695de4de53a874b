"""Whether a Docker engine is there, and what the Makefile learns from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stack import engine
from scripts.stack.engine import choose, docker_answers, main

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize(
    ("body", "compose", "lacking"),
    [
        ("exit 0", True, None),
        ('[ "$1" != compose ]', True, "install it"),
        ('[ "$1" != compose ]', False, None),
        ('[ "$1" = compose ]', True, "systemctl start docker"),
    ],
)
def test_what_docker_lacks_is_named(tmp_path: Path, body: str, compose: bool, lacking: str | None) -> None:
    found = engine.missing(fake_docker(tmp_path, body), 10, compose)
    assert found == lacking or (lacking is not None and found is not None and lacking in found)


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a target, as a person would and not a part of the make that runs the tests."""
    return subprocess.run(
        ["make", *arguments, f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", ["status", "up", "psql", "dead-letters", "image-gateway"])
def test_a_target_of_the_containers_says_what_is_missing(tmp_path: Path, target: str) -> None:
    """With make's own programs on PATH, and no docker."""
    for name in ("make", "sh", "sed", "git"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = make(target, "STACK=compose", PATH=str(tmp_path))
    assert done.returncode == 2 and "Docker is not installed" in done.stderr


@pytest.mark.parametrize("target", ["up", "status", "rollback"])
def test_a_wrong_setting_ends_a_target_with_its_reason(target: str) -> None:
    done = make(target, "STEPS=1", REDIS_PORT="many")
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert first == "millstream: REDIS_PORT='many' is not a port number (1 to 65535)" and len(rest) == 1


def test_a_stack_of_another_name_is_refused() -> None:
    done = make("status", "STACK=k8s")
    assert done.returncode == 2 and "STACK=k8s is neither native nor compose" in done.stderr


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
