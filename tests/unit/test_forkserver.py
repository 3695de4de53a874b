"""What children are forked from: it has imported the libraries, and knows no secret."""

from __future__ import annotations

import subprocess
import sys

from inference_worker.children.forkserver import passed_on


def test_the_libraries_can_be_imported() -> None:
    # The server ignores an import that fails: children would then import everything themselves, each for itself.
    command = "import sys, inference_worker.children.libraries; assert 'transformers.modeling_utils' in sys.modules"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_a_child_is_given_what_libraries_need_and_no_secret() -> None:
    secrets = {"REDIS_URL": "redis://:x@h", "DATABASE_URL": "y", "REDIS_PASSWORD": "z", "AWS_SECRET_ACCESS_KEY": "k"}
    needed = {"PATH": "/bin", "HF_HOME": "/hub", "CUDA_VISIBLE_DEVICES": "0", "OMP_WAIT_POLICY": "PASSIVE"}
    kept = passed_on({**secrets, **needed})
    assert {name: kept.pop(name) for name in needed} == needed
    assert set(kept) == {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


def test_what_the_operator_sets_for_memory_wins() -> None:
    assert passed_on({"MALLOC_TRIM_THRESHOLD_": "1"})["MALLOC_TRIM_THRESHOLD_"] == "1"
