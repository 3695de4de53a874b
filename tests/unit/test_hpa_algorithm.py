"""The autoscaler's arithmetic against worked examples of the Kubernetes documentation ("Horizontal Pod Autoscaling")
and cases of kubernetes/kubernetes, `pkg/controller/podautoscaler/{horizontal,replica_calculator}_test.go`."""

from __future__ import annotations

import pytest

from tests.hpa.algorithm import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    Autoscaler,
    Pod,
    Policy,
    ScalingRules,
    Tolerances,
    external_replicas,
    highest,
    pods_replicas,
    resource_replicas,
)

NOW = 10_000.0


def pods(*values: float | None, request: float = 1.0) -> list[Pod]:
    return [Pod(each, request) for each in values]


def rules(pod_value: int, pod_period: int, percent: int, percent_period: int, window: int = 0) -> ScalingRules:
    """Both kinds of policy; a value of 0 leaves one out, as in the controller's own tests."""
    both = (Policy("Pods", pod_value, pod_period), Policy("Percent", percent, percent_period))
    return ScalingRules(tuple(each for each in both if each.value), window)


def spread(changes: list[int], seconds: int) -> list[tuple[float, int]]:
    """Events spread evenly over the last seconds."""
    return [(NOW - seconds * (i + 0.5) / len(changes), change) for i, change in enumerate(changes)]


@pytest.mark.parametrize(
    ("current", "value", "target", "wanted"),
    [
        (1, 200, 100, 2),  # twice the target: twice the replicas
        (2, 50, 100, 1),  # half of it: half
        (5, 105, 100, 5),  # within the tolerance
        (50, 90, 75, 60),  # of the announcement of configurable tolerance
        (3, 1200, 1000, 4),  # ceil, not round
    ],
)
def test_the_formula(current: int, value: float, target: float, wanted: int) -> None:
    assert pods_replicas(current, pods(*[value] * current), target) == wanted


@pytest.mark.parametrize(
    ("status", "total", "target", "wanted"),
    [
        (3, 8.6, 2.2, 4),  # "ScaleUpPerPodCMExternal": 8600m to share at 2200m each
        (5, 8.6, 2.867, 3),  # "ScaleDownPerPodCMExternal"
        (2, 11, 5, 2),  # a tenth above the target: within the tolerance
        (2, 11.1, 5, 3),
        (0, 1, 200, 1),  # from zero: no tolerance
        (4, 0, 200, 0),  # an empty queue wants none; the minimum is applied later
    ],
)
def test_an_external_metric_is_shared_out(status: int, total: float, target: float, wanted: int) -> None:
    assert external_replicas(status, total, target) == wanted


def test_a_direction_may_have_a_tolerance_of_its_own() -> None:
    assert external_replicas(10, 104, 10, Tolerances(down=0.05, up=0.0)) == 11
    assert external_replicas(10, 96, 10, Tolerances(down=0.05, up=0.0)) == 10
    assert external_replicas(10, 94, 10, Tolerances(down=0.05, up=0.0)) == 10  # 9.4 is 10 pods: nothing goes
    assert external_replicas(10, 89, 10, Tolerances(down=0.05, up=0.0)) == 9


@pytest.mark.parametrize(
    ("values", "utilization", "wanted"),
    [
        ([0.3, 0.5, 0.7], 30, 5),  # "ScaleUp": 50 % of a target of 30 %
        ([0.1, 0.3, 0.5, 0.25, 0.25], 50, 3),  # "ScaleDown": 28 % of 50 %
        ([0.4, 0.5, 0.5], 50, 3),  # within the tolerance
    ],
)
def test_a_resource_is_a_share_of_what_is_requested(values: list[float], utilization: int, wanted: int) -> None:
    assert resource_replicas(len(values), pods(*values), utilization) == wanted


@pytest.mark.parametrize(
    ("current", "seen", "utilization", "wanted"),
    [
        (3, [Pod(0.3, ignored=True), Pod(0.5), Pod(0.7)], 30, 4),  # "ScaleUpUnreadyLessScale"
        (3, [Pod(0.4, ignored=True), Pod(0.5, ignored=True), Pod(0.7)], 30, 3),  # "ScaleUpUnreadyNoScale"
        (4, [Pod(1.0), Pod(1.0), Pod(None), Pod(None)], 100, 4),  # on target: nothing to say of the missing ones
        (4, [Pod(0.4), Pod(0.095), Pod(None), Pod(None)], 100, 3),  # "MissingMetrics"
        (4, [Pod(1.2), Pod(1.2), Pod(None), Pod(None)], 100, 4),  # with idle ones it would turn round: held
        (4, [Pod(0.2), Pod(0.2), Pod(0.2), Pod(None)], 50, 4),  # in: the missing one is taken for fully used
        (4, [Pod(0.1), Pod(0.1), Pod(0.1), Pod(None)], 100, 2),
        (2, [Pod(1.5), Pod(None)], 50, 3),  # out: the missing one is taken for idle
        (4, [Pod(0.0, ignored=True)] * 3 + [Pod(0.1)], 50, 1),  # in: pods that are not ready are left out
    ],
)
def test_pods_that_are_not_ready_or_have_no_value(current: int, seen: list[Pod], utilization: int, wanted: int) -> None:
    assert resource_replicas(current, seen, utilization) == wanted


def test_without_any_value_nothing_is_proposed() -> None:
    assert resource_replicas(2, [Pod(None), Pod(0.9, ignored=True)], 50) is None
    assert pods_replicas(2, [], 5) is None


@pytest.mark.parametrize(
    ("proposals", "wanted"),
    [([2, 7, 4], 7), ([None, 9], 9), ([None, 3], None), ([None, 5], 5), ([None, None], None), ([3, 2], 3)],
)
def test_the_highest_wins_and_what_is_unknown_keeps_it_from_scaling_in(
    proposals: list[int | None], wanted: int | None
) -> None:
    assert highest(5, proposals) == wanted


@pytest.mark.parametrize(
    ("current", "desired", "bounds", "up", "down", "wanted"),
    [
        (10, 50, (1, 1000), DEFAULT_UP, DEFAULT_DOWN, 20),  # doubling
        (1, 10, (1, 1000), DEFAULT_UP, DEFAULT_DOWN, 5),  # or four more, whichever is more
        (10, 500, (1, 1000), rules(100, 60, 100, 60), DEFAULT_DOWN, 110),
        (10, 500, (1, 1000), rules(2, 60, 100, 60), DEFAULT_DOWN, 20),
        (10, 50, (1, 1000), rules(100, 60, 0, 0), DEFAULT_DOWN, 50),
        (10, 50, (1, 1000), rules(30, 60, 0, 0), DEFAULT_DOWN, 40),
        (10, 50, (1, 1000), rules(0, 0, 200, 60), DEFAULT_DOWN, 30),
        (3, 1000, (1, 2000), rules(0, 0, 1, 60), DEFAULT_DOWN, 4),  # rounded up, or it would never move
        (100, 1000, (100, 150), DEFAULT_UP, DEFAULT_DOWN, 150),
        (100, 2, (1, 1000), DEFAULT_UP, rules(20, 60, 1, 60), 80),
        (100, 2, (1, 1000), DEFAULT_UP, rules(2, 60, 1, 60), 98),
        (10, 0, (1, 1000), DEFAULT_UP, rules(100, 60, 0, 0), 1),
        (10, 2, (5, 1000), DEFAULT_UP, rules(0, 0, 100, 60), 5),
        (10, 2, (1, 1000), DEFAULT_UP, rules(5, 60, 0, 0), 5),
        (10, 5, (1, 1000), DEFAULT_UP, rules(0, 0, 50, 60), 5),
        (10, 20, (1, 1000), ScalingRules(DEFAULT_UP.policies, 0, "Disabled"), DEFAULT_DOWN, 10),
        (10, 5, (1, 1000), DEFAULT_UP, ScalingRules(DEFAULT_DOWN.policies, 0, "Disabled"), 10),
        (10, 50, (1, 1000), ScalingRules(rules(2, 60, 100, 60).policies, 0, "Min"), DEFAULT_DOWN, 12),
        (100, 2, (1, 1000), DEFAULT_UP, ScalingRules(rules(20, 60, 1, 60).policies, 0, "Min"), 99),
    ],
)
def test_policies_say_how_far_it_may_go(
    current: int, desired: int, bounds: tuple[int, int], up: ScalingRules, down: ScalingRules, wanted: int
) -> None:
    assert Autoscaler(*bounds, up, down).limited(NOW, current, desired) == wanted


@pytest.mark.parametrize(
    ("current", "desired", "added", "removed", "up", "down", "wanted"),
    [
        (100, 500, [1, 5, 9], [], rules(150, 120, 0, 0), DEFAULT_DOWN, 235),  # 100 - 15 + 150
        (100, 500, [1, 5, 9], [], rules(0, 0, 200, 120), DEFAULT_DOWN, 255),  # 200 % more than 85
        (100, 500, [1, 5, 9], [], rules(5, 120, 0, 0), DEFAULT_DOWN, 100),  # 90 is less than there is: no further
        (100, 2, [], [1, 5, 9], DEFAULT_UP, rules(5, 120, 0, 0), 100),  # 100 + 15 - 5 is more than there is
        (100, 0, [], [2, 4, 6], DEFAULT_UP, rules(0, 0, 50, 120), 56),  # half of 112
        (100, 0, [], [10, 10, 10], DEFAULT_UP, rules(0, 0, 10, 120), 100),
        (10, 5, [], [10, 10, 10], DEFAULT_UP, rules(0, 0, 1000, 120), 5),
    ],
)
def test_a_period_counts_what_has_changed_in_it(
    current: int, desired: int, added: list[int], removed: list[int], up: ScalingRules, down: ScalingRules, wanted: int
) -> None:
    scaler = Autoscaler(1, 1000, up, down, added=spread(added, 120), removed=spread(removed, 120))
    assert scaler.limited(NOW, current, desired) == wanted


@pytest.mark.parametrize(
    ("current", "desired", "earlier", "up_s", "down_s", "wanted"),
    [
        (100, 5, [], 0, 0, 5),
        (100, 3, [(4, 120), (5, 60)], 0, 180, 5),  # in: the highest of the window
        (1, 7, [(4, 120), (5, 60)], 300, 0, 4),  # out: the lowest of the window
        (100, 3, [(1, 120), (2, 60)], 300, 0, 3),
        (1, 3, [(4, 120), (5, 60)], 0, 300, 3),
        (100, 3, [(10, 600), (9, 540)], 0, 0, 3),
        (100, 3, [(10, 600), (4, 60), (5, 120), (9, 540)], 0, 180, 5),
        (1, 100, [(10, 6000), (6, 60), (5, 120), (9, 180)], 300, 300, 5),
    ],
)
def test_a_window_takes_the_safest_recommendation(
    current: int, desired: int, earlier: list[tuple[int, float]], up_s: int, down_s: int, wanted: int
) -> None:
    scaler = Autoscaler(
        1,
        1000,
        ScalingRules(DEFAULT_UP.policies, up_s),
        ScalingRules(DEFAULT_DOWN.policies, down_s),
        [(NOW - ago, value) for value, ago in earlier],
    )
    assert scaler.stabilized(NOW, current, desired) == wanted


def test_the_documentations_scale_down_from_80_to_10() -> None:
    """4 pods or 10 % a minute, whichever is more: 8 of 80, 8 of 72 (7.2, rounded up), …, and 4 at a time from 40."""
    scaler = Autoscaler(10, 100, down=rules(4, 60, 10, 60))
    seen, now = [80], NOW
    while seen[-1] > 10:
        now += 60
        seen.append(scaler.sync(now, seen[-1], [10]))
    assert seen[:3] == [80, 72, 64]
    below = [before - after for before, after in zip(seen, seen[1:], strict=False) if 14 <= before <= 40]
    assert set(below) == {4}


def test_by_default_it_waits_five_minutes_before_it_scales_in() -> None:
    scaler = Autoscaler(1, 10)
    wanted = [scaler.sync(NOW + 15 * turn, 8, [8 if turn == 0 else 2]) for turn in range(22)]
    assert wanted[:20] == [8] * 20
    assert wanted[20] == 2


def test_a_deployment_scaled_to_zero_by_hand_is_left_alone_and_bounds_are_kept() -> None:
    assert Autoscaler(1, 10).sync(NOW, 0, [5]) == 0
    assert Autoscaler(0, 10).sync(NOW, 0, [5]) == 4  # four pods a period from nothing
    assert Autoscaler(2, 10).sync(NOW, 1, [None]) == 2
    assert Autoscaler(2, 10).sync(NOW, 12, [20]) == 10


def test_without_a_metric_it_holds() -> None:
    scaler = Autoscaler(1, 10)
    assert scaler.sync(NOW, 4, [None, None]) == 4
    assert scaler.sync(NOW + 600, 4, [None, 1]) == 4
    assert scaler.sync(NOW + 615, 4, [None, 6]) == 6
