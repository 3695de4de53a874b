"""The chaos schedule: a pure function of its seed in which everything that matters occurs."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest

from tests.chaos.__main__ import quick
from tests.chaos.run import Plan
from tests.chaos.schedule import FIRST, KINDS, Action, Target, plan, without

SEEDS = range(20)


def kinds(seed: int, count: int) -> list[tuple[str, str]]:
    return [(fault.action, fault.target) for fault in chain(*plan(seed, count, 2.5))]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_schedule(seed: int) -> None:
    assert plan(seed, 40, 2.5) == plan(seed, 40, 2.5)


def test_seeds_give_different_schedules() -> None:
    assert len({str(plan(seed, 40, 2.5)) for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_schedule_has_every_kind(seed: int) -> None:
    assert Plan(seed).faults >= 30
    assert len(KINDS) >= 25
    assert Counter(kinds(seed, Plan(seed).faults)) == Counter(KINDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_schedule_has_the_kinds_that_matter_most(seed: int) -> None:
    assert set(kinds(seed, quick(seed).faults)) == set(FIRST)


@pytest.mark.parametrize("seed", SEEDS)
def test_pauses_outlast_the_visibility_timeout(seed: int) -> None:
    faults = list(chain(*plan(seed, 60, 2.5)))
    assert all(fault.lasts_s >= 2.5 for fault in faults if fault.action is Action.PAUSE)
    assert all(0 < fault.lasts_s < 8 for fault in faults)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_breaks_at_once_is_of_different_areas(seed: int) -> None:
    rounds = plan(seed, 60, 2.5)
    assert any(len(each) == 2 for each in rounds)
    for faults in rounds:
        areas = [area(fault.target) for fault in faults]
        assert len(set(areas)) == len(areas) <= 2


def area(target: Target) -> str:
    stores = {"redis": "redis", "postgres": "postgres", "pgbouncer": "postgres"}
    return next((store for name, store in stores.items() if name in target), "service")


def test_what_a_machine_cannot_do_is_left_out() -> None:
    rounds = plan(1, Plan(1).faults, 2.5)
    left = without(Target.POOLER, without(Action.CLOCK, rounds))
    assert all(left)
    missing = Counter(chain(*rounds)) - Counter(chain(*left))
    assert {(fault.action, fault.target) for fault in missing} == {
        kind for kind in KINDS if Action.CLOCK in kind or Target.POOLER in kind
    }
