"""What breaks, in which order: a pure function of a seed, so that a run that found something can be run again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What is done to a target."""

    KILL = "kill -9"
    STOP = "SIGTERM"
    PAUSE = "SIGSTOP"
    UNREAD_LOG = "nobody reads its log"
    CLOCK = "its clock jumps ahead, and back"
    CUT = "connections cut"
    REFUSE = "connections refused"
    BLACKHOLE = "everything swallowed"
    MUTE_UP = "requests swallowed"
    MUTE_DOWN = "answers swallowed"
    MUTE_HINTS = "hints swallowed"
    STALL = "packets held back"
    SLOW = "slow"
    DEMOTE = "REPLICAOF"
    CANNOT_SAVE = "BGSAVE fails"
    DISK_FULL = "append-only file cannot grow"
    KILL_CLIENTS = "CLIENT KILL, again and again"
    EXHAUST = "no more clients allowed"
    CLIENT_PAUSE = "CLIENT PAUSE"
    BUSY = "busy with a script"
    FULL = "maxmemory reached"
    NO_RIGHT = "commands forbidden"
    READ_ONLY = "read-only"
    LOCK = "table locked"
    NO_TABLE = "table missing"
    TERMINATE = "backends terminated, again and again"


class Target(StrEnum):
    """What it is done to; a link is what leads from services to a store: all of them, or those of one service."""

    GATEWAY = "gateway"
    WORKER = "inference_worker"
    PERSISTER = "persister"
    CHILD = "a model's process"
    REDIS = "redis"
    POSTGRES = "postgres"
    POOLER = "pgbouncer"
    REDIS_LINK = "links to redis"
    POSTGRES_LINK = "links to postgres"
    GATEWAY_REDIS = "gateways' link to redis"
    WORKER_REDIS = "workers' link to redis"
    PERSISTER_REDIS = "persisters' link to redis"
    GATEWAY_POSTGRES = "gateways' link to postgres"
    PERSISTER_POSTGRES = "persisters' link to postgres"


Kind = tuple[Action, Target]

SERVICES = (Target.GATEWAY, Target.WORKER, Target.PERSISTER)
STORES = (Target.REDIS, Target.POSTGRES)
# The links of one service, each a proxy of its own, by the store that they lead to.
LINKS = {
    Target.REDIS_LINK: (Target.GATEWAY_REDIS, Target.WORKER_REDIS, Target.PERSISTER_REDIS),
    Target.POSTGRES_LINK: (Target.GATEWAY_POSTGRES, Target.PERSISTER_POSTGRES),
}
ALL_LINKS = (*LINKS, *(each for links in LINKS.values() for each in links))
_LINK_ACTIONS = (Action.CUT, Action.REFUSE, Action.MUTE_UP, Action.MUTE_DOWN, Action.STALL, Action.SLOW)
_REDIS_ACTIONS = (
    Action.PAUSE,
    Action.CLOCK,
    Action.DEMOTE,
    Action.CANNOT_SAVE,
    Action.DISK_FULL,
    Action.KILL_CLIENTS,
    Action.EXHAUST,
    Action.CLIENT_PAUSE,
    Action.BUSY,
    Action.FULL,
    Action.NO_RIGHT,
)
_POSTGRES_ACTIONS = (Action.READ_ONLY, Action.LOCK, Action.TERMINATE, Action.EXHAUST, Action.NO_TABLE)
KINDS: tuple[Kind, ...] = (
    *((action, target) for target in SERVICES for action in (Action.KILL, Action.STOP, Action.PAUSE)),
    *((Action.UNREAD_LOG, target) for target in SERVICES),
    (Action.KILL, Target.CHILD),
    (Action.CLOCK, Target.GATEWAY),
    *((action, target) for target in (*STORES, Target.POOLER) for action in (Action.KILL, Action.STOP)),
    *((action, Target.REDIS) for action in _REDIS_ACTIONS),
    *((action, Target.POSTGRES) for action in _POSTGRES_ACTIONS),
    *((action, target) for target in LINKS for action in _LINK_ACTIONS),
    *((Action.BLACKHOLE, target) for targets in LINKS.values() for target in targets),
    (Action.MUTE_HINTS, Target.GATEWAY_REDIS),
)
# These must come in the shortest schedule too: each leaves entries behind that somebody else has to take over, or
# answers wrongly instead of not at all.
FIRST: tuple[Kind, ...] = (
    (Action.KILL, Target.WORKER),
    (Action.PAUSE, Target.WORKER),
    (Action.KILL, Target.CHILD),
    (Action.KILL, Target.PERSISTER),
    (Action.KILL, Target.GATEWAY),
    (Action.KILL, Target.REDIS),
    (Action.KILL, Target.POSTGRES),
    (Action.PAUSE, Target.PERSISTER),
    (Action.DEMOTE, Target.REDIS),
    (Action.BLACKHOLE, Target.WORKER_REDIS),
)
# What takes a while to be noticed lasts longer than the time-outs by which it is.
_LONG = (
    Action.BLACKHOLE,
    Action.MUTE_UP,
    Action.MUTE_DOWN,
    Action.MUTE_HINTS,
    Action.STALL,
    Action.SLOW,
    Action.UNREAD_LOG,
    Action.LOCK,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that breaks.

    Attributes:
        lasts_s: how long it stays broken; nothing where the supervisor restarts at once.
        pick: which of several processes: the target's number modulo their count.
    """

    action: Action
    target: Target
    lasts_s: float
    pick: int

    @property
    def kind(self) -> str:
        """How the report names it."""
        return f"{self.target}: {self.action}"


Round = Sequence[Fault]


def plan(seed: int, count: int, pause_s: float) -> list[Round]:
    """A schedule: rounds of one fault, or of two different targets at once.

    Args:
        seed: the same seed gives the same schedule.
        count: how many faults; every kind appears once `count` reaches the number of kinds.
        pause_s: the shortest SIGSTOP: longer than the visibility timeout.
    """
    chance = random.Random(seed)
    faults = [
        Fault(action, target, _lasts(chance, action, pause_s), chance.randrange(6))
        for action, target in _kinds(chance, count)
    ]
    rounds: list[Round] = []
    while faults:
        first = faults.pop()
        beside = [each for each in faults if not _meet(first.target, each.target)]
        if beside and chance.random() < 0.5:
            faults.remove(beside[-1])
            rounds.append((first, beside[-1]))
        else:
            rounds.append((first,))
    return rounds


def without(impossible: Action | Target, rounds: Sequence[Round]) -> list[Round]:
    """The schedule for a machine on which this cannot be done."""
    left = ([fault for fault in faults if impossible not in (fault.action, fault.target)] for faults in rounds)
    return [faults for faults in left if faults]


def _meet(one: Target, other: Target) -> bool:
    """Whether two targets are of the same store or both a service: then they are not broken at once."""
    return _area(one) == _area(other)


def _area(target: Target) -> Target | str:
    for link, links in LINKS.items():
        if target == link or target in links:
            return Target.REDIS if link is Target.REDIS_LINK else Target.POSTGRES
    if target is Target.POOLER:
        return Target.POSTGRES
    return target if target in STORES else "services"


def _kinds(chance: random.Random, count: int) -> list[Kind]:
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
    return round(chance.uniform(4.0, 7.0) if action in _LONG else chance.uniform(0.3, 2.5), 2)
