"""A worker or a persister without one of its loops ends with an error that names it: half of one looks healthy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts.stack.ports import free_port

ENDINGS = [
    ("raise ValueError('no good')", "failed"),
    ("return", "ended early"),
    ("raise CancelledError", "was cancelled"),
]


@pytest.mark.parametrize(("ending", "how"), ENDINGS)
@pytest.mark.parametrize(
    ("module", "broken", "loop"),
    [
        ("persister", "persister.persister.Persister.keep_partitions", "partitions"),
        ("inference_worker", "inference_worker.__main__.keep_heartbeat", "heartbeat"),
        ("inference_worker", "inference_worker.lane.Lane.keep_claims", "claims noop:1.0.0"),
    ],
)
def test_the_process_ends_and_says_which_loop_and_how(
    environment: dict[str, str], module: str, broken: str, loop: str, ending: str, how: str
) -> None:
    code = (
        f"import sys, {module}.__main__\n"
        "from asyncio import CancelledError\n"
        f"async def broken(*_, **__):\n    {ending}\n"
        f"{broken} = broken\n"
        f"sys.exit({module}.__main__.main())"
    )
    ports = {"WORKER_METRICS_PORT": str(free_port()), "PERSISTER_METRICS_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, **ports, "WORKER_MODELS": "noop"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "a loop ended" in done.stderr and f"loop={loop}  how={how}" in done.stderr
