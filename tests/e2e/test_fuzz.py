"""A short run of schemathesis against the pipeline; `make fuzz` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.stack.redis import RedisServer
from shared.contract.keys import Keys
from tests.e2e.conftest import Start
from tests.fuzz.campaign import put_dead_letters, run_schemathesis, start_pipeline


@pytest.mark.timeout(300)
def test_requests_by_the_document_and_against_it_get_documented_answers(
    start: Start, redis_server: RedisServer, keys: Keys, tmp_path: Path
) -> None:
    url = start_pipeline(start)
    put_dead_letters(redis_server.url, keys.dead)
    phases = "examples,coverage,fuzzing"
    report = run_schemathesis(url, tmp_path, seed=1, examples=8, phases=phases, timeout_s=280)
    assert report.passed, report.text
    assert report.cases >= 500 and report.accepted >= 50, report.text
    assert "handler failed" not in "".join(log.read_text(encoding="utf-8") for log in tmp_path.glob("*.log"))
