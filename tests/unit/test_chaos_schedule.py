"""The chaos schedule: a pure function of its seed in which everything that matters occurs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.chaos.__main__ import quick
from tests.chaos.run import Plan
from tests.chaos.schedule import FIRST, KINDS, Action, plan

SEEDS = range(20)


def kinds(seed: int, count: int) -> list[tuple[str, str]]:
    return [(fault.action, fault.target) for fault in plan(seed, count, 3.0, 2.5)]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_schedule(seed: int) -> None:
    assert plan(seed, 40, 3.0, 2.5) == plan(seed, 40, 3.0, 2.5)


def test_seeds_give_different_schedules() -> None:
    assert len({tuple(plan(seed, 40, 3.0, 2.5)) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_schedule_has_every_kind_twice(seed: int) -> None:
    found = kinds(seed, Plan(seed).faults)
    assert Plan(seed).faults >= 30
    assert set(found) == set(KINDS)
    assert all(found.count(kind) == 2 for kind in KINDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_schedule_has_the_kinds_that_matter_most(seed: int) -> None:
    assert set(kinds(seed, quick(seed).faults)) == set(FIRST)


@pytest.mark.parametrize("seed", SEEDS)
def test_times_rise_and_pauses_outlast_the_visibility_timeout(seed: int) -> None:
    faults = plan(seed, 60, 3.0, 2.5)
    assert all(before.at_s < after.at_s for before, after in pairwise(faults))
    assert all(fault.lasts_s >= 2.5 for fault in faults if fault.action is Action.PAUSE)
    assert all(0 < fault.lasts_s < 4 for fault in faults)
