"""What breaks when: a pure function of a seed, so that a run that found something can be run again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What is done to a target."""

    KILL = "kill -9"
    STOP = "SIGTERM"
    PAUSE = "SIGSTOP"
    CUT = "connections cut"
    REFUSE = "connections refused"
    BLACKHOLE = "connections blackholed"


class Target(StrEnum):
    """What it is done to; the links are the proxies through which the services reach the stores."""

    GATEWAY = "gateway"
    WORKER = "inference_worker"
    PERSISTER = "persister"
    CHILD = "a model's process"
    REDIS = "redis"
    POSTGRES = "postgres"
    REDIS_LINK = "link to redis"
    POSTGRES_LINK = "link to postgres"


SERVICES = (Target.GATEWAY, Target.WORKER, Target.PERSISTER)
STORES = (Target.REDIS, Target.POSTGRES)
LINKS = (Target.REDIS_LINK, Target.POSTGRES_LINK)
KINDS: tuple[tuple[Action, Target], ...] = (
    *((action, target) for target in SERVICES for action in (Action.KILL, Action.STOP, Action.PAUSE)),
    (Action.KILL, Target.CHILD),
    *((action, target) for target in STORES for action in (Action.KILL, Action.STOP)),
    (Action.PAUSE, Target.REDIS),
    *((action, target) for target in LINKS for action in (Action.CUT, Action.REFUSE, Action.BLACKHOLE)),
)
# These must come in the shortest schedule too: each leaves entries behind that somebody else has to take over.
FIRST: tuple[tuple[Action, Target], ...] = (
    (Action.KILL, Target.WORKER),
    (Action.PAUSE, Target.WORKER),
    (Action.KILL, Target.CHILD),
    (Action.KILL, Target.PERSISTER),
    (Action.KILL, Target.GATEWAY),
    (Action.KILL, Target.REDIS),
    (Action.KILL, Target.POSTGRES),
    (Action.PAUSE, Target.PERSISTER),
    (Action.BLACKHOLE, Target.REDIS_LINK),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that breaks.

    Attributes:
        at_s: seconds after the start of the load.
        lasts_s: how long it stays broken; nothing where the supervisor restarts at once.
        pick: which of several processes: the target's number modulo their count.
    """

    at_s: float
    action: Action
    target: Target
    lasts_s: float
    pick: int

    @property
    def kind(self) -> str:
        """How the report names it."""
        return f"{self.target}: {self.action}"


def plan(seed: int, count: int, spacing_s: float, pause_s: float) -> list[Fault]:
    """A schedule.

    Args:
        seed: the same seed gives the same schedule.
        count: how many faults; every kind appears once `count` reaches the number of kinds.
        spacing_s: the mean time between two; faults of different targets may overlap.
        pause_s: the shortest SIGSTOP: longer than the visibility timeout.
    """
    chance = random.Random(seed)
    at_s = spacing_s / 2
    faults = []
    for action, target in _kinds(chance, count):
        faults.append(Fault(round(at_s, 2), action, target, _lasts(chance, action, pause_s), chance.randrange(6)))
        at_s += spacing_s * chance.uniform(0.5, 1.5)
    return faults


def _kinds(chance: random.Random, count: int) -> list[tuple[Action, Target]]:
    """Every kind once before any comes again; a schedule too short for all has those that matter most."""
    others = [kind for kind in KINDS if kind not in FIRST]
    first, rest = list(FIRST), chance.sample(others, len(others))
    kinds = (first + rest)[:count]
    while len(kinds) < count:
        kinds += chance.sample(KINDS, len(KINDS))
    kinds = kinds[:count]
    chance.shuffle(kinds)
    return kinds


def _lasts(chance: random.Random, action: Action, pause_s: float) -> float:
    if action is Action.PAUSE:
        return round(pause_s * chance.uniform(1.0, 1.5), 2)
    return round(chance.uniform(0.3, 2.5), 2)
