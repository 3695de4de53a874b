"""What `make smoke` and `helm test` run, against the services as processes."""

from __future__ import annotations

import subprocess
import sys

from scripts.kubernetes.chart import CHART
from scripts.stack.ports import free_port
from tests.e2e.conftest import Start


def smoke(url: str, model: str, patience_s: float = 30) -> subprocess.CompletedProcess[str]:
    """Run it as the chart does: the text of the file, with the standard library only."""
    code = (CHART / "files" / "smoke.py").read_text(encoding="utf-8")
    command = [sys.executable, "-I", "-c", code, url, f"--model={model}", f"--patience={patience_s}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_the_smoke_test_passes_if_all_is_well_and_says_what_is_not(start: Start) -> None:
    gateway = start("gateway")
    start("inference_worker", WORKER_MODELS="echo")
    unstored = smoke(gateway.url, "echo:1.0.0", patience_s=3)
    assert unstored.returncode == 1 and "does the persister reach Postgres?" in unstored.stderr
    start("persister")
    done = smoke(gateway.url, "echo:1.0.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: echo 1.0.0: ")
    unknown = smoke(gateway.url, "echo:9.9.9")
    assert unknown.returncode == 1 and "echo:9.9.9 is not served" in unknown.stderr


def test_the_smoke_test_fails_if_nobody_answers() -> None:
    nobody = smoke(f"http://127.0.0.1:{free_port()}", "echo:1.0.0", patience_s=1)
    assert nobody.returncode == 1 and "refused" in nobody.stderr
