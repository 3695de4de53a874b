"""The Kubernetes horizontal pod autoscaler (autoscaling/v2) without a cluster: pure, the time is an argument.

After https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/ ("Algorithm details",
"Configurable scaling behavior") and kubernetes/kubernetes, `pkg/controller/podautoscaler/replica_calculator.go` (what
one metric proposes) and `horizontal.go` (`computeReplicasForMetrics`, `stabilizeRecommendationWithBehaviors`,
`convertDesiredReplicasWithBehaviorRate`). The names are theirs.

Each sync: every metric proposes a number of replicas, the highest wins. That recommendation is stabilized: of those of
the window, the lowest when going up, the highest when going down. Then the policies say how far it may go at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

SYNC_PERIOD_S = 15.0  # --horizontal-pod-autoscaler-sync-period
TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance
DOWNSCALE_STABILIZATION_S = 300  # --horizontal-pod-autoscaler-downscale-stabilization

Select = Literal["Max", "Min", "Disabled"]
_Known = Sequence[tuple[float, float]]  # of each pod that has a value: the value, and its request


@dataclass(frozen=True)
class Policy:
    """How far a direction may go within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True)
class ScalingRules:
    """`behavior.scaleUp` or `behavior.scaleDown`."""

    policies: tuple[Policy, ...]
    stabilization_s: int
    select: Select = "Max"
    tolerance: float = TOLERANCE


DEFAULT_UP = ScalingRules((Policy("Pods", 4, 15), Policy("Percent", 100, 15)), 0)
DEFAULT_DOWN = ScalingRules((Policy("Percent", 100, 15),), DOWNSCALE_STABILIZATION_S)


@dataclass(frozen=True)
class Pod:
    """One pod as a metric sees it.

    Attributes:
        value: of the metric; None where it has none yet: missing.
        request: what its containers request of the resource; 1 for a metric that is no resource.
        ignored: pending, or (for CPU) not ready yet, or ready for less than one window of the metric.
    """

    value: float | None
    request: float = 1.0
    ignored: bool = False


class Tolerances(NamedTuple):
    """How far a usage may be off its target before anything is done; each direction may have its own."""

    down: float = TOLERANCE
    up: float = TOLERANCE

    def hold(self, ratio: float) -> bool:
        """Whether a usage is near enough."""
        return 1 - self.down <= ratio <= 1 + self.up


DEFAULT_TOLERANCES = Tolerances()


def external_replicas(
    status_replicas: int, total: float, target: float, tolerances: Tolerances = DEFAULT_TOLERANCES
) -> int:
    """What an external metric with an `averageValue` target proposes: as many as share the total by the target."""
    if status_replicas and tolerances.hold(total / (target * status_replicas)):
        return status_replicas
    return math.ceil(total / target)


def pods_replicas(
    current: int, pods: Sequence[Pod], target: float, tolerances: Tolerances = DEFAULT_TOLERANCES
) -> int | None:
    """What a metric of pods with an `averageValue` target proposes; None where no pod has a value."""
    return _replicas(current, pods, lambda known: _floored(known, 1000) / target, target, tolerances)


def resource_replicas(
    current: int, pods: Sequence[Pod], utilization: int, tolerances: Tolerances = DEFAULT_TOLERANCES
) -> int | None:
    """What a resource with an `averageUtilization` target, in percent, proposes; None where no pod has a value."""
    at_most = max(1.0, utilization / 100)
    return _replicas(current, pods, lambda known: _floored(known, 100) * 100 / utilization, at_most, tolerances)


def _replicas(
    current: int, pods: Sequence[Pod], ratio_of: Callable[[_Known], float], busy: float, tolerances: Tolerances
) -> int | None:
    """What both have in common.

    Args:
        busy: what a pod without a value is taken to use of its request when that speaks against scaling in.
    """
    counted = [each for each in pods if not each.ignored]
    known = [(each.value, each.request) for each in counted if each.value is not None]
    missing = [each.request for each in counted if each.value is None]
    if not known:
        return None
    ratio = ratio_of(known)
    ignored = [each.request for each in pods if each.ignored] if ratio > 1 else []
    if not missing and not ignored:
        return current if tolerances.hold(ratio) else math.ceil(ratio * len(known))
    if ratio == 1:
        return current
    # pods without a value are taken for busy where it would scale in, and for idle where it would scale out
    assumed = [*known, *((request * busy if ratio < 1 else 0.0, request) for request in [*missing, *ignored])]
    new_ratio = ratio_of(assumed)
    if tolerances.hold(new_ratio) or (ratio < 1 < new_ratio) or (new_ratio < 1 < ratio):
        return current
    proposed = math.ceil(new_ratio * len(assumed))
    if (new_ratio < 1 and proposed > current) or (new_ratio > 1 and proposed < current):
        return current
    return proposed


def _floored(known: _Known, parts: int) -> float:
    """Use by request, as the controller has it: in whole parts (percent of a resource, thousandths of a value)."""
    used = sum(value for value, _ in known) / sum(request for _, request in known)
    return math.floor(used * parts + 1e-9) / parts


def highest(current: int, proposals: Sequence[int | None]) -> int | None:
    """The recommendation of all metrics; None: hold, since some are unknown and the others would scale in."""
    known = [each for each in proposals if each is not None]
    if not known or (len(known) < len(proposals) and max(known) < current):
        return None
    return max(known)


@dataclass
class Autoscaler:
    """One HPA's memory and its decisions."""

    minimum: int
    maximum: int
    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN
    recommendations: list[tuple[float, int]] = field(default_factory=list)
    added: list[tuple[float, int]] = field(default_factory=list)
    removed: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now: float, current: int, proposals: Sequence[int | None]) -> int:
        """One turn of the controller: the replicas wanted from now on."""
        if not self.recommendations:
            self.recommendations.append((now, current))
        if current == 0 and self.minimum > 0:
            return 0  # scaled to zero by hand: the autoscaler is off
        if not self.minimum <= current <= self.maximum:
            return self._scaled(now, current, min(max(current, self.minimum), self.maximum))
        recommendation = highest(current, proposals)
        if recommendation is None:
            return current
        return self._scaled(now, current, self.limited(now, current, self.stabilized(now, current, recommendation)))

    def stabilized(self, now: float, current: int, recommendation: int) -> int:
        """The least change that the recommendations of both windows agree on."""
        lowest = min([recommendation, *self._within(now, self.recommendations, self.up.stabilization_s)])
        most = max([recommendation, *self._within(now, self.recommendations, self.down.stabilization_s)])
        longest = max(self.up.stabilization_s, self.down.stabilization_s)
        self.recommendations = [each for each in self.recommendations if each[0] > now - longest]
        self.recommendations.append((now, recommendation))
        return min(max(current, lowest), most)

    def limited(self, now: float, current: int, desired: int) -> int:
        """As far as the policies and the bounds allow."""
        if desired > current:
            return min(desired, self.maximum, max(current, self._limit(now, current, self.up, 1)))
        if desired < current:
            return max(desired, self.minimum, min(current, self._limit(now, current, self.down, -1)))
        return desired

    def _limit(self, now: float, current: int, rules: ScalingRules, sign: int) -> int:
        """The number of replicas that the policies of one direction allow; 1 is up, -1 is down."""
        if rules.select == "Disabled":
            return current
        allowed = [self._allowed(now, current, policy, sign) for policy in rules.policies]
        furthest = max if (sign > 0) == (rules.select == "Max") else min
        return furthest(allowed)

    def _allowed(self, now: float, current: int, policy: Policy, sign: int) -> int:
        added = sum(self._within(now, self.added, policy.period_s))
        removed = sum(self._within(now, self.removed, policy.period_s))
        at_start = current - added + removed
        if policy.kind == "Pods":
            return at_start + sign * policy.value
        scaled = at_start * (1 + sign * policy.value / 100)
        return math.ceil(scaled) if sign > 0 else math.trunc(scaled)

    def _scaled(self, now: float, current: int, desired: int) -> int:
        if desired > current:
            self.added.append((now, desired - current))
        if desired < current:
            self.removed.append((now, current - desired))
        longest = max(policy.period_s for policy in (*self.up.policies, *self.down.policies))
        self.added = [each for each in self.added if each[0] > now - longest]
        self.removed = [each for each in self.removed if each[0] > now - longest]
        return desired

    @staticmethod
    def _within(now: float, events: Sequence[tuple[float, int]], seconds: float) -> list[int]:
        return [value for at, value in events if at > now - seconds]
