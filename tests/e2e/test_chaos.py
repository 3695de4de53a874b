"""The chaos suite in its short form: ten faults of different kinds under a load of mixed requests."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.__main__ import quick
from tests.chaos.run import run
from tests.chaos.schedule import FIRST

SEED = 20


async def test_every_promise_is_kept_while_things_break(tmp_path: Path) -> None:
    outcome = await run(quick(SEED), tmp_path)
    print(outcome.table())
    assert not outcome.verdict.violations()
    assert len(outcome.faults) == len(FIRST)
    assert outcome.accepted >= quick(SEED).requests
