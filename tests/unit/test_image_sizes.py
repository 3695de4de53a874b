"""The gate on image sizes, with a program that stands in for docker."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import image_sizes
from scripts.image_sizes import Size, line, main, parse, read_limits

ROOT = Path(__file__).resolve().parents[2]
BAKED = "5\tRUN useradd\n900000000\tCOPY /opt/venv /opt/venv\n547000000\tCOPY /app/models/artifacts models/artifacts\n"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker that prints what a file beside it holds."""
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/history" || exit 1\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "history"


def test_models_that_are_baked_in_are_shown_and_do_not_count() -> None:
    assert parse(BAKED) == Size(900_000_005, 547_000_000)
    assert line("worker", parse(BAKED), 1000) == (True, f"{'worker':<43}   900 MB  below 1000 MB, and 547 MB of models")


def test_an_image_within_its_limit_passes(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docker.write_text(BAKED, encoding="utf-8")
    assert main(["inference-worker"]) == 0
    assert "millstream/inference-worker:local" in capsys.readouterr().out


@pytest.mark.parametrize("extra", ["99999995\tRUN pip install everything\n", "1000000000\tADD cuda /\n"])
def test_a_known_bad_image_fails(docker: Path, capsys: pytest.CaptureFixture[str], extra: str) -> None:
    docker.write_text(BAKED + extra, encoding="utf-8")
    assert main(["inference-worker"]) == 1
    assert "NOT below 1000 MB" in capsys.readouterr().err


def test_an_image_without_a_limit_passes(docker: Path) -> None:
    docker.write_text(BAKED * 10, encoding="utf-8")
    assert main(["models"]) == 0


def test_an_image_that_is_not_there_fails(docker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--name", "elsewhere/{target}:1.0", "gateway"]) == 1
    assert "elsewhere/gateway:1.0" in capsys.readouterr().err


def test_no_docker_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["gateway"]) == 1
    assert "docker: " in capsys.readouterr().err


def test_an_unknown_target_is_an_error() -> None:
    with pytest.raises(SystemExit):
        main(["gatway"])


def test_every_target_of_the_dockerfile_has_a_limit_or_none() -> None:
    limits = read_limits(ROOT / "pyproject.toml")
    workers = {"inference-worker": 1000, "inference-worker-openvino": 500}
    assert limits == {"gateway": 250, "persister": 250, "migrate": 250, **workers, "models": 0}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = {target.replace("inference-worker-", "worker-") for target in limits}  # chosen by ENGINE
    assert all(f" AS {stage}\n" in dockerfile for stage in stages)
    assert image_sizes.MEGABYTE == 10**6
