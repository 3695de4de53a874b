"""`make demo` against real services: every model that is served is tried, and its predictions are found again."""

from __future__ import annotations

import subprocess
import sys

from millstream_client import Millstream
from scripts.demo import TEXTS
from scripts.stack.ports import free_port
from tests.pipelines import Pipeline
from tests.processes import REPOSITORY


def demo(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.demo", url]
    path = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'client'}", "COLUMNS": "160", "PATH": "/usr/bin"}
    return subprocess.run(command, cwd=REPOSITORY, env=path, capture_output=True, text=True, timeout=110)


def test_every_model_that_is_served_is_tried(pipeline: Pipeline) -> None:
    done = demo(pipeline.url)
    with Millstream(pipeline.url) as client:
        served = [
            f"{model.name} {each.version}" for model in client.models() for each in model.versions if each.workers
        ]
        found = [each for status in (None, "queued") for each in client.predictions(tag="demo:yes", status=status)]
    assert served and all(name in done.stdout for name in served), done.stdout + done.stderr
    assert len(found) <= len(served) * len(TEXTS) and "the first answer" in done.stdout
    assert done.returncode == (0 if all(each.status == "succeeded" for each in found) else 1), done.stdout


def test_without_a_gateway_it_says_so() -> None:
    done = demo(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 3 and done.stderr.startswith("demo: ") and "Traceback" not in done.stderr
