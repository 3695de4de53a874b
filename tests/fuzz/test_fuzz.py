"""The long run of `make fuzz`; FUZZ_SEED and FUZZ_EXAMPLES change it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.stack.redis import RedisServer
from shared.contract.keys import Keys
from tests.e2e.conftest import Start
from tests.fuzz.campaign import PHASES, put_dead_letters, run_schemathesis, start_pipeline

SEED = int(os.environ.get("FUZZ_SEED", "1"))
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))


@pytest.mark.timeout(900)
def test_no_request_makes_an_answer_that_is_not_documented(
    start: Start, redis_server: RedisServer, keys: Keys, tmp_path: Path
) -> None:
    url = start_pipeline(start)
    put_dead_letters(redis_server.url, keys.dead)
    report = run_schemathesis(url, tmp_path, seed=SEED, examples=EXAMPLES, phases=PHASES, timeout_s=600)
    assert report.passed, report.text
    assert report.cases >= 2000 and report.accepted >= 200, report.text
    assert "handler failed" not in "".join(log.read_text(encoding="utf-8") for log in tmp_path.glob("*.log"))
    print(f"\nseed {SEED}: {report.cases} cases, {report.accepted} valid ones accepted")
