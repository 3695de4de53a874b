"""What Millstream needs of a Redis, and what follows if it is otherwise. Pure.

Redis answers all the same if these are not met: an operator finds out when requests that were accepted are gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

OLDEST = (6, 2)
CHECKS = ("version", "cluster", "rights", "eviction", "role", "saving", "persistence")


class Level(IntEnum):
    """What follows from a finding."""

    WARNS = 1  # it is said in the log and in /health
    BLOCKED = 2  # Redis itself refuses what would write; no gateway is ready
    REFUSES = 3  # gateways accept nothing more, but what was accepted is finished
    STOPS = 4  # the service uses nothing of this Redis until it is mended


class Finding(NamedTuple):
    """Something that is not as it should be: one of `CHECKS`, what follows, and a sentence for people."""

    check: str
    level: Level
    sentence: str


def findings_of(info: Mapping[str, Any]) -> list[Finding]:
    """What is wrong, the worst first.

    Args:
        info: Redis's answer to INFO; what it does not say is not checked.
    """
    found = [_version(info), _cluster(info), _eviction(info), _role(info), _saving(info), _persistence(info)]
    return sorted(filter(None, found), key=lambda finding: -finding.level)


def _version(info: Mapping[str, Any]) -> Finding | None:
    said = str(info.get("redis_version", ""))
    numbers = re.match(r"(\d+)\.(\d+)", said)
    if numbers is None or (int(numbers[1]), int(numbers[2])) >= OLDEST:
        return None
    return Finding("version", Level.STOPS, f"Redis is of version {said}; Millstream needs 6.2 or later, or Valkey")


def _cluster(info: Mapping[str, Any]) -> Finding | None:
    if not info.get("cluster_enabled"):
        return None
    return Finding(
        "cluster", Level.STOPS, "Redis runs as a cluster (cluster-enabled yes); Millstream wants one primary"
    )


def _eviction(info: Mapping[str, Any]) -> Finding | None:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return None
    if policy.startswith("volatile-"):
        lost = "forgets Idempotency-Keys and the workers' heartbeats"
    else:
        lost = "deletes requests that were accepted"
    level = Level.REFUSES if policy.startswith("allkeys-") and info.get("maxmemory") else Level.WARNS
    sentence = f"Redis {lost} when its memory is full (maxmemory-policy {policy}): set it to noeviction"
    return Finding("eviction", level, sentence)


def _role(info: Mapping[str, Any]) -> Finding | None:
    if info.get("role", "master") == "master":
        return None
    return Finding("role", Level.BLOCKED, "Redis is a read-only replica: REDIS_URL must lead to the primary")


def _saving(info: Mapping[str, Any]) -> Finding | None:
    if info.get("aof_last_write_status", "ok") != "ok":
        sentence = (
            "Redis cannot write its append-only file and accepts no writes: see its log, and the room on its disk"
        )
        return Finding("saving", Level.BLOCKED, sentence)
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return Finding("saving", Level.WARNS, "Redis's last snapshot failed: see its log, and the room on its disk")
    return None


def _persistence(info: Mapping[str, Any]) -> Finding | None:
    if info.get("aof_enabled", 1):
        return None
    sentence = "Redis has no append-only file (appendonly no): when it ends, it loses requests that were accepted"
    return Finding("persistence", Level.WARNS, sentence)


# For each command arguments with which it changes nothing, whatever the key `{key}` and the channel `{channel}` hold:
# the key never exists, and who may run the command gets an empty answer, or an error of another kind.
_TRIALS: Mapping[str, Sequence[str]] = {
    "DEL": ("{key}",),
    "EXISTS": ("{key}",),
    "GET": ("{key}",),
    "HDEL": ("{key}", "f"),
    "HGET": ("{key}", "f"),
    "HGETALL": ("{key}",),
    "HINCRBY": ("{key}", "f", "no number"),
    "HKEYS": ("{key}",),
    "HMGET": ("{key}", "f"),
    "HSET": ("{key}", "f", "v", "a field without a value"),
    "INFO": ("memory",),
    "MEMORY USAGE": ("{key}",),
    "MGET": ("{key}",),
    "PEXPIRE": ("{key}", "1"),
    "PUBLISH": ("{channel}", ""),
    "SET": ("{key}", "v", "XX"),
    "TIME": (),
    "UNLINK": ("{key}",),
    "XACK": ("{key}", "g", "0-1"),
    "XADD": ("{key}", "NOMKSTREAM", "*", "f", "v"),
    "XCLAIM": ("{key}", "g", "c", "0", "0-1"),
    "XDEL": ("{key}", "0-1"),
    "XGROUP CREATE": ("{key}", "g", "0"),
    "XGROUP CREATECONSUMER": ("{key}", "g", "c"),
    "XGROUP DELCONSUMER": ("{key}", "g", "c"),
    "XINFO CONSUMERS": ("{key}", "g"),
    "XINFO STREAM": ("{key}",),
    "XLEN": ("{key}",),
    "XPENDING": ("{key}", "g"),
    "XRANGE": ("{key}", "-", "+"),
    "XREADGROUP": ("GROUP", "g", "c", "STREAMS", "{key}", ">"),
    "XREVRANGE": ("{key}", "+", "-"),
    "XTRIM": ("{key}", "MAXLEN", "0"),
    "ZADD": ("{key}", "XX", "1", "m"),
    "ZRANGEBYSCORE": ("{key}", "0", "1"),
    "ZREM": ("{key}", "m"),
    "ZREMRANGEBYSCORE": ("{key}", "0", "1"),
}


def trial(command: str, key: str, channel: str) -> list[str]:
    """A command with arguments with which it changes nothing: it fails only if there is no right to run it."""
    return [*command.split(), *(each.format(key=key, channel=channel) for each in _TRIALS[command])]
