"""One run of schemathesis against a whole pipeline of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import redis as redis_sync

from shared.contract.ids import uuid7
from tests.e2e.conftest import Start
from tests.processes import REPOSITORY, wait_until

FOLDER = Path(__file__).parent
PHASES = "examples,coverage,fuzzing,stateful"


class Report(NamedTuple):
    """What a run came to; `text` is what schemathesis printed, with how to repeat each failure."""

    passed: bool
    cases: int
    accepted: int
    text: str


def start_pipeline(start: Start) -> str:
    """The three services over the models of this folder; the answer is the gateway's address."""
    models = str(FOLDER / "models.toml")
    own = {"MODEL_CATALOGUE": models, "LOG_LEVEL": "WARNING"}
    services = [start(module, ready=False, **own) for module in ("gateway", "inference_worker", "persister")]
    for service in services:
        service.wait_ready()
    url = services[0].url
    wait_until(lambda: "trees.Input" in _document(url), "the document has the schemas of models")
    return url


def _document(url: str) -> str:
    with urllib.request.urlopen(f"{url}/openapi.json") as answer:
        return str(answer.read())


def put_dead_letters(url: str, stream: str) -> None:
    """The dead letters that schemathesis.toml names; far in the future, so that they do not age out."""
    with redis_sync.Redis.from_url(url) as client:
        for number in range(1, 13):
            letter: dict[Any, Any] = {
                "schema": "1",
                "id": uuid7(number, number),
                "model": "noop",
                "version": "1.0.0",
                "input": '{"text":"hello"}',
                "submitted_at": "1",
                "deadline_at": "1",
                "reason": "max_deliveries",
            }
            client.xadd(stream, letter, id=f"90000000000{number:02d}-0")


def run_schemathesis(url: str, folder: Path, *, seed: int, examples: int, phases: str, timeout_s: float) -> Report:
    """Test every operation of the document with all checks, valid and invalid data."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(FOLDER / "schemathesis.toml")]
    command += ["run", f"{url}/openapi.json", "--checks", "all", "--mode", "all", "--phases", phases]
    command += ["--seed", str(seed), "--max-examples", str(examples), "--continue-on-failure", "--no-color"]
    command += ["--request-timeout", "70"]  # longer than a request may wait for its answer (60 s)
    command += ["--report", "json", "--report-json-path", str(report)]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    figures = orjson.loads(report.read_bytes()) if report.exists() else {}
    cases = int(figures.get("test_cases", {}).get("generated", 0))
    return Report(done.returncode == 0, cases, _accepted(figures.get("valid_rates", {})), text)


def _accepted(rates: Mapping[str, Mapping[str, Mapping[str, int]]]) -> int:
    return sum(each["accepted"] for phases in rates.values() for each in phases.values())
