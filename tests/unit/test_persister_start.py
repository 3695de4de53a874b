"""A persister that cannot start says why in a sentence, as every service does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.processes import REPOSITORY


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"MODEL_CATALOGUE": "no-such-file.toml"}, "cannot read the model catalogue no-such-file.toml"),
        ({"PERSIST_BATCH_SIZE": "0"}, "PERSIST_BATCH_SIZE: "),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_ends_the_start(setting: dict[str, str], told: str) -> None:
    command = [sys.executable, "-m", "persister"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **setting}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("persister: ") and told in done.stderr and "Traceback" not in done.stderr
