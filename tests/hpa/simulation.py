"""Millstream under the shipped autoscalers, second by second.

What is exact: the autoscaler's arithmetic (`algorithm.py`), its targets, bounds and behaviour and the CPU that a pod
may use (`manifests.py`). What is assumed stands in `Assumptions`, with where it comes from. Work is a fluid: a pod that
is ready computes `limit / CPU seconds of one` a second while there is a backlog. Arrivals are Poisson, from a fixed
seed.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.settings import GatewaySettings
from tests.hpa import trace
from tests.hpa.algorithm import (
    SYNC_PERIOD_S,
    Autoscaler,
    Pod,
    Tolerances,
    external_replicas,
    pods_replicas,
    resource_replicas,
)
from tests.hpa.manifests import Cpu, Hpa, Metric


@dataclass(frozen=True)
class Assumptions:
    """What no manifest says.

    Attributes:
        gateway_cpu_s: CPU seconds of a gateway for one request, of a persister for one row: `python -m tests.load.cost`
            at neither end of its load.
        rows_a_second: what one Postgres stores, whatever the number of persisters: `python -m tests.load.rows`.
        worker_start_s: until a new worker is ready, on a node with room and the image; loading models takes 10 s of it.
        metric_delay_s: how old a value is that the controller reads: a scrape, the recording rule, the sync between.
        cpu_window_s: what metrics-server averages over; a pod has no CPU before one window after it was ready.
    """

    gateway_cpu_s: float = 0.0003
    persister_cpu_s: float = 0.00006
    rows_a_second: float = 20_000
    worker_start_s: float = 45
    service_start_s: float = 15
    metric_delay_s: int = 25
    cpu_window_s: int = 15
    answer_s: float = 0.05
    longest_wait_s: float = GatewaySettings.model_fields["default_wait_s"].default
    max_backlog: int = GatewaySettings.model_fields["max_backlog"].default
    max_results: int = GatewaySettings.model_fields["max_results"].default
    max_in_flight: int = GatewaySettings.model_fields["max_in_flight"].default


class Delayed:
    """A series as a controller sees it some seconds later."""

    def __init__(self, delay_s: int, first: float = 0.0) -> None:
        self._values: deque[float] = deque([first], maxlen=delay_s + 1)

    def add(self, value: float) -> None:
        """What it is in this second."""
        self._values.append(value)

    def seen(self) -> float:
        """What it was then."""
        return self._values[0]


class Averaged:
    """A series as metrics-server shows it: the mean of the window before the last."""

    def __init__(self, window_s: int) -> None:
        self._values: deque[float] = deque([0.0], maxlen=2 * window_s)
        self._window_s = window_s

    def add(self, value: float) -> None:
        """What it is in this second."""
        self._values.append(value)

    def seen(self) -> float:
        """What it was on average."""
        window = list(self._values)[: self._window_s]
        return sum(window) / len(window)


@dataclass
class Fleet:
    """One Deployment and its autoscaler."""

    hpa: Hpa
    cpu: Cpu
    cpu_s: float
    start_s: float
    ready_at: list[float]
    used: Averaged
    scaler: Autoscaler
    backlog: float = 0.0
    depth: Delayed = field(default_factory=lambda: Delayed(0))

    def ready(self, now: float) -> int:
        """How many pods serve."""
        return sum(at <= now for at in self.ready_at)

    def work(self, now: float, arriving: float, at_most: float = math.inf) -> float:
        """One second: what is done of the backlog and of what arrives."""
        capacity = min(at_most, self.ready(now) * self.cpu.limit / self.cpu_s)
        done = min(capacity, self.backlog + arriving)
        self.backlog += arriving - done
        self.depth.add(self.backlog)
        self.used.add(done * self.cpu_s / max(1, self.ready(now)))
        return done

    def sync(self, now: float, proposals: list[int | None]) -> None:
        """Let the autoscaler decide, and add or remove pods: the youngest go first."""
        wanted = self.scaler.sync(now, len(self.ready_at), proposals)
        self.ready_at = sorted(self.ready_at)[:wanted] + [now + self.start_s] * (wanted - len(self.ready_at))


class Simulation:
    """All fleets over the trace."""

    def __init__(self, hpas: Mapping[str, Hpa], cpus: Mapping[str, Cpu], assumed: Assumptions | None = None) -> None:
        self.assumed = assumed = assumed or Assumptions()
        self._random = random.Random(20_261_124)
        self.gateway = self._fleet(hpas["api"], cpus["api"], assumed.gateway_cpu_s, assumed.service_start_s)
        self.persister = self._fleet(
            hpas["persister"], cpus["persister"], assumed.persister_cpu_s, assumed.service_start_s
        )
        self.workers = {
            each: self._fleet(hpas[each.deployment], cpus[each.deployment], each.cpu_s, assumed.worker_start_s)
            for each in trace.STREAMS
        }
        self.in_flight = Delayed(assumed.metric_delay_s)
        self.flying = 0.0
        self.refused = 0.0

    def _fleet(self, hpa: Hpa, cpu: Cpu, cpu_s: float, start_s: float) -> Fleet:
        assumed = self.assumed
        fleet = Fleet(
            hpa,
            cpu,
            cpu_s,
            start_s,
            [0.0] * hpa.minimum,
            Averaged(assumed.cpu_window_s),
            Autoscaler(hpa.minimum, hpa.maximum, hpa.up, hpa.down),
        )
        fleet.depth = Delayed(assumed.metric_delay_s)
        return fleet

    def second(self, now: float) -> None:
        """One second of traffic and work."""
        arriving = {each: self._poisson(each.peak * trace.share(now)) for each in self.workers}
        asked = sum(arriving.values())
        # what a gateway refuses: too much held, too much not stored yet, more than its CPU takes
        room = self.gateway.ready(now) * self.assumed.max_in_flight - self.flying
        taken = min(asked, max(0.0, room), self.gateway.ready(now) * self.gateway.cpu.limit / self.gateway.cpu_s)
        if self.persister.backlog >= self.assumed.max_results:
            taken = 0.0
        accepted = taken / asked if asked else 0.0
        self.refused += asked - taken
        finished = flying = 0.0
        for stream, fleet in self.workers.items():
            coming = min(arriving[stream] * accepted, max(0.0, self.assumed.max_backlog - fleet.backlog))
            self.refused += arriving[stream] * accepted - coming
            done = fleet.work(now, coming)
            finished += done
            wait = self.assumed.answer_s + fleet.backlog / max(done, 1e-9)
            flying += min(coming * min(wait, self.assumed.longest_wait_s), fleet.backlog + coming)
        self.flying = flying
        self.gateway.backlog = 0.0
        self.gateway.work(now, asked)
        self.gateway.backlog = flying  # what it holds; what it does not take it refuses
        self.in_flight.add(flying / max(1, self.gateway.ready(now)) + 1)  # and the scrape
        away = trace.within(now, trace.POSTGRES_AWAY)
        self.persister.work(now, finished, 0.0 if away else self.assumed.rows_a_second)

    def sync(self, now: float) -> None:
        """One turn of the controller."""
        for fleet in (self.gateway, self.persister, *self.workers.values()):
            fleet.sync(now, [self._proposal(now, fleet, metric) for metric in fleet.hpa.metrics])

    def _proposal(self, now: float, fleet: Fleet, metric: Metric) -> int | None:
        tolerances = Tolerances(fleet.hpa.down.tolerance, fleet.hpa.up.tolerance)
        current = len(fleet.ready_at)
        if metric.kind == "Resource":
            window = self.assumed.cpu_window_s
            pods = [Pod(fleet.used.seen(), fleet.cpu.request, at + window > now > window) for at in fleet.ready_at]
            return resource_replicas(current, pods, int(metric.target), tolerances)
        if trace.within(now, trace.ADAPTER_AWAY):
            return None
        if metric.kind == "Pods":
            values = [Pod(self.in_flight.seen(), ignored=at > now) for at in fleet.ready_at]
            return pods_replicas(current, values, metric.target, tolerances)
        return external_replicas(current, fleet.depth.seen(), metric.target, tolerances)

    def _poisson(self, mean: float) -> float:
        """How many arrive in a second; for what is rare, exactly, else by its normal approximation."""
        if mean > 30:
            return max(0.0, self._random.gauss(mean, math.sqrt(mean)))
        limit, count, product = math.exp(-mean), 0, self._random.random()
        while product > limit:
            count += 1
            product *= self._random.random()
        return float(count)


@dataclass
class Course:
    """What was seen of one fleet, every 15 s; the backlog of a gateway is what is in flight."""

    hpa: Hpa
    replicas: list[int] = field(default_factory=list)
    backlog: list[float] = field(default_factory=list)


@dataclass
class Outcome:
    """A whole run: `at_s` and `asked` have the same steps as every course."""

    at_s: list[float]
    asked: list[float]
    courses: Mapping[str, Course]
    refused: float = 0.0
    offered: float = 0.0


def run(hpas: Mapping[str, Hpa], cpus: Mapping[str, Cpu]) -> Outcome:
    """Simulate the whole trace."""
    simulation = Simulation(hpas, cpus)
    fleets = (simulation.gateway, *simulation.workers.values(), simulation.persister)
    outcome = Outcome([], [], {fleet.hpa.name: Course(fleet.hpa) for fleet in fleets})
    for second in range(int(trace.END)):
        simulation.second(second)
        asked = sum(each.peak for each in trace.STREAMS) * trace.share(second)
        outcome.offered += asked
        if second % SYNC_PERIOD_S:
            continue
        simulation.sync(second)
        outcome.at_s.append(second)
        outcome.asked.append(asked)
        for fleet in fleets:
            outcome.courses[fleet.hpa.name].replicas.append(len(fleet.ready_at))
            outcome.courses[fleet.hpa.name].backlog.append(fleet.backlog)
    outcome.refused = simulation.refused
    return outcome
