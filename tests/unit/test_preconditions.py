"""What follows from what Redis says about itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from shared.streams.preconditions import Level, findings_of, trial
from shared.streams.redis_watch import USES, commands_of

FINE = {
    "redis_version": "7.2.4",
    "cluster_enabled": 0,
    "maxmemory": 1,
    "maxmemory_policy": "noeviction",
    "role": "master",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
}


@pytest.mark.parametrize(
    ("changes", "check", "level", "told"),
    [
        ({"redis_version": "6.0.16"}, "version", Level.STOPS, "6.0.16"),
        ({"redis_version": "5.0"}, "version", Level.STOPS, "6.2 or later"),
        ({"cluster_enabled": 1}, "cluster", Level.STOPS, "cluster-enabled yes"),
        ({"maxmemory_policy": "allkeys-lru"}, "eviction", Level.REFUSES, "deletes requests that were accepted"),
        ({"maxmemory_policy": "allkeys-random"}, "eviction", Level.REFUSES, "maxmemory-policy allkeys-random"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "eviction", Level.WARNS, "allkeys-lru"),
        ({"maxmemory_policy": "volatile-lru"}, "eviction", Level.WARNS, "forgets Idempotency-Keys"),
        ({"role": "slave"}, "role", Level.BLOCKED, "read-only replica"),
        ({"aof_last_write_status": "err"}, "saving", Level.BLOCKED, "accepts no writes"),
        ({"rdb_last_bgsave_status": "err"}, "saving", Level.WARNS, "last snapshot failed"),
        ({"aof_enabled": 0}, "persistence", Level.WARNS, "appendonly no"),
    ],
)
def test_each_thing_that_is_wrong_is_told(changes: dict[str, Any], check: str, level: Level, told: str) -> None:
    (found,) = findings_of({**FINE, **changes})
    assert (found.check, found.level) == (check, level)
    assert told in found.sentence


@pytest.mark.parametrize("version", ["6.2.0", "6.2.14", "7.0.15", "8.0.0", "10.1.0", "255.255.255", "?"])
def test_what_is_fine_is_not_told(version: str) -> None:
    assert findings_of({**FINE, "redis_version": version}) == []


def test_what_redis_does_not_say_is_not_checked() -> None:
    assert findings_of({}) == []


def test_the_worst_comes_first() -> None:
    found = findings_of({**FINE, "aof_enabled": 0, "maxmemory_policy": "allkeys-lfu", "cluster_enabled": 1})
    assert [each.check for each in found] == ["cluster", "eviction", "persistence"]


@pytest.mark.parametrize("service", USES)
def test_each_command_of_a_service_can_be_tried(service: str) -> None:
    commands = commands_of(service)
    assert {"XADD", "XGROUP CREATE"} <= set(commands) or service == "gateway"
    for command in commands:
        tried = trial(command, "the-key", "the-channel")
        assert tried[: len(command.split())] == command.split()


def test_each_script_belongs_to_a_service() -> None:
    lua = {path.stem for path in Path("shared/streams/lua").glob("*.lua")} - {"accounts", "kept", "rights"}
    assert {name for use in USES.values() for name in use.scripts} == lua
    modules = [Path(f"shared/streams/{name}.py") for name in ("result_stream", "deployment")]
    source = "".join(each.read_text(encoding="utf-8") for each in modules)
    of_erasures = {"complete", "dead_letter"}  # what waits of a caller whose predictions are erased
    assert set(re.findall(r'script\("(\w+)"\)', source)) | of_erasures == set(USES["persister"].scripts)
