"""What children are forked from: it has imported the libraries, and knows no secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference_worker import __main__ as worker
from inference_worker.children.child import HUB_TOKEN, LoadPlan
from inference_worker.children.forkserver import hub_environment, passed_on


def test_the_libraries_can_be_imported() -> None:
    # The server ignores an import that fails: children would then import everything themselves, each for itself.
    command = "import sys, inference_worker.children.libraries; assert 'transformers.modeling_utils' in sys.modules"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_a_child_is_given_what_libraries_need_and_no_secret() -> None:
    secrets = {
        "REDIS_URL": "redis://:x@h",
        "DATABASE_URL": "y",
        "REDIS_PASSWORD": "z",
        "AWS_SECRET_ACCESS_KEY": "k",
        "HF_TOKEN": "t",
        "HF_TOKEN_FILE": "/run/secrets/t",
    }
    needed = {"PATH": "/bin", "HF_HOME": "/hub", "CUDA_VISIBLE_DEVICES": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    kept = passed_on({**secrets, **needed})
    assert {name: kept.pop(name) for name in needed} == needed
    assert set(kept) == {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


@pytest.mark.parametrize(("location", "token"), [("hf://owner/name", "t"), ("/models/mine", ""), ("none", "")])
def test_only_a_child_that_fetches_from_the_hub_is_given_its_password(
    monkeypatch: pytest.MonkeyPatch, location: str, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "t")
    plan = LoadPlan("m:1", "a:B", location, "float32", "torch", "auto", 1, 1, 1, 1, 1, 1)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    given = hub_environment(plan)
    assert given == ({"HF_TOKEN": token, "HTTPS_PROXY": "http://proxy:1"} if token else {})


def test_what_the_operator_sets_for_memory_wins() -> None:
    assert passed_on({"MALLOC_TRIM_THRESHOLD_": "1"})["MALLOC_TRIM_THRESHOLD_"] == "1"


def test_the_password_for_the_hub_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n", encoding="utf-8")
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv(HUB_TOKEN, "")
    monkeypatch.setattr(worker, "configure_logging", lambda *_: None)
    monkeypatch.setattr("uvloop.run", lambda running: running.close())
    worker._main()
    assert os.environ[HUB_TOKEN] == "t"
