"""Whether Redis is as Millstream needs it: looked at when a service starts, after each outage, and every 10 s.

A right that is missing is found by trying the commands themselves, which works with Redis 6.2 and for a user that may
not ask for its rights. It is found before anything is read: a script that is refused a command has done half its work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from redis.exceptions import ResponseError

from shared.contract.errors import StoreUnavailable
from shared.service.liveness import Liveness
from shared.streams.preconditions import CHECKS, Finding, Level, findings_of, trial
from shared.streams.redis_client import script_source
from shared.streams.redis_errors import CALL, NO_PERMISSION, UNKNOWN_COMMAND, all_denied, redis_errors, word_of
from shared.streams.shard import Shard
from shared.telemetry.metrics import ERRORS, REDIS_CHECK_FAILED

log = logging.getLogger(__name__)

LOOP = "redis checks"
EVERY_S = 10.0
SOON_S = 2.0  # while something is wrong


class Use(NamedTuple):
    """What a service uses of Redis. Its user is given this and nothing else, see `shared.streams.access`.

    Attributes:
        scripts: by their names; the commands in them count as used.
        commands: that it runs itself.
        keys: kinds of keys, as `shared.contract.keys` names them, those within scripts too.
        channels: kinds of channels.
        beside: commands that cannot be tried within a script.
    """

    scripts: Sequence[str]
    commands: Sequence[str]
    keys: Sequence[str]
    channels: Sequence[str] = ()
    beside: Sequence[str] = ()


USES: Mapping[str, Use] = {
    "gateway": Use(
        ("cache", "publish", "lookup", "listen", "waiting", "replay", "complete", "dead_letter", "publish_registry"),
        (
            *(
                "GET",
                "HGET",
                "HGETALL",
                "HINCRBY",
                "HKEYS",
                "HMGET",
                "INFO",
                "MGET",
                "TIME",
                "XDEL",
                "XINFO CONSUMERS",
                "XINFO STREAM",
                "XLEN",
            ),
            *("XPENDING", "XRANGE", "XREVRANGE", "XTRIM", "ZRANGEBYSCORE", "ZREM"),
        ),
        (
            *("requests", "results", "dead", "prediction", "backlog_bytes", "deadlines", "idempotency"),
            *(
                "idempotency_bytes",
                "limits",
                "cached",
                "cache_generations",
                "registry",
                "deployment",
                "worker",
                "workers",
                "load_error",
                "drift",
            ),
        ),
        ("notify", "principals"),
        ("SUBSCRIBE",),
    ),
    "inference_worker": Use(
        (
            *("claim", "complete", "count_delivery", "dead_letter", "heartbeat", "join", "release", "remove_consumer"),
            *("renew", "progress"),
        ),
        ("HGET", "HKEYS", "HMGET", "SET", "TIME", "UNLINK", "XINFO CONSUMERS", "XPENDING", "XREADGROUP", "ZREM"),
        (
            *("requests", "results", "dead", "prediction", "backlog_bytes", "deadlines", "limits", "worker", "workers"),
            *("load_error", "registry"),
        ),
        ("notify",),
    ),
    "persister": Use(
        (
            *("bind", "claim_results", "join", "persisted", "read_results", "remove_consumer", "remove_idle_consumers"),
            *("complete", "dead_letter"),  # for erasures
        ),
        (
            *("HINCRBY", "HKEYS", "INFO", "MEMORY USAGE", "SET", "XADD", "XDEL", "XINFO STREAM", "XRANGE"),
            *("XREADGROUP", "XREVRANGE"),
        ),
        (
            *("results", "dead", "prediction", "deployment", "drift"),
            *("requests", "backlog_bytes", "deadlines", "limits", "cache_generations"),  # for erasures
        ),
        ("notify",),
        ("BGREWRITEAOF",),
    ),
}


def commands_of(service: str) -> list[str]:
    """The commands that a service runs itself or in scripts, sorted; subcommands with their commands."""
    use = USES[service]
    calls = [call for name in use.scripts for call in CALL.findall(script_source(name))]
    return sorted({*use.commands, *(" ".join(filter(None, call)) for call in calls)})


class RedisWatch:
    """Watches one Redis for one service.

    Attributes:
        findings: what was wrong at the last look, the worst first.
    """

    def __init__(self, shard: Shard, service: str, liveness: Liveness) -> None:
        self.findings: Sequence[Finding] = ()
        self._redis, self._service, self._liveness = shard.redis, service, liveness
        self._rights = shard.script("rights")
        self._key = shard.keys.rights
        self._commands = commands_of(service)
        self._trials = orjson.dumps([trial(each, self._key, shard.keys.notify("rights")) for each in self._commands])
        self._may_ask = True

    def worst(self, least: Level) -> Finding | None:
        """The worst finding, if it is at least of this level."""
        return next((each for each in self.findings if each.level >= least), None)

    async def require(self) -> None:
        """Look, before anything is read.

        Raises:
            StoreUnavailable: Redis cannot be reached, or is not fit to be used.
        """
        await self.look()
        found = self.worst(Level.STOPS)
        if found is not None:
            raise StoreUnavailable("redis", found.sentence, NO_PERMISSION if found.check == "rights" else found.check)

    async def run(self, stop: asyncio.Event) -> None:
        """Look every 10 s, or 2 s while something is wrong, until `stop` is set."""
        pause_s = 0.0
        while not await self._liveness.wait(LOOP, stop, pause_s):
            try:
                await self.look()
            except StoreUnavailable as error:
                ERRORS.labels(self._service, f"{error.store}_{error.reason}").inc()
            pause_s = SOON_S if self.worst(Level.BLOCKED) else EVERY_S

    async def look(self) -> None:
        """Look once.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        found = findings_of(await self._info())
        if not any(each.level is Level.STOPS for each in found):
            found = [*await self._missing_rights(), *found]
        self._note(found)

    async def _info(self) -> Mapping[str, Any]:
        """Redis about itself; nothing if that is forbidden or renamed, which is said once."""
        try:
            with redis_errors():
                return dict(await self._redis.info())
        except StoreUnavailable as error:
            if error.reason not in (NO_PERMISSION, UNKNOWN_COMMAND):
                raise
            if self._may_ask:
                log.info("settings of Redis not checked", extra={"detail": error.detail})
            self._may_ask = False
            return {}

    async def _missing_rights(self) -> list[Finding]:
        try:
            with redis_errors():
                await self._redis.script_exists("0" * 40)  # as pipelines with scripts do
            failed = await self._rights([self._key], [self._trials])
        except StoreUnavailable as error:
            if error.reason != NO_PERMISSION:
                raise
            return [Finding("rights", Level.STOPS, error.detail)]
        refused = {self._commands[index]: error.decode() for index, error in failed if _is_refusal(error.decode())}
        if not refused:
            return []
        user = self._redis.connection_pool.connection_kwargs.get("username") or "default"
        return [Finding("rights", Level.STOPS, all_denied(refused, user))]

    def _note(self, findings: Sequence[Finding]) -> None:
        before = {each.check for each in self.findings}
        for each in findings:
            if each not in self.findings:
                log.warning("Redis is not as it should be", extra={"check": each.check, "detail": each.sentence})
        for check in sorted(before - {each.check for each in findings}):
            log.info("Redis is as it should be again", extra={"check": check})
        self.findings = findings
        wrong = {each.check for each in findings}
        for check in CHECKS:
            REDIS_CHECK_FAILED.labels(self._service, check).set(check in wrong)


def _is_refusal(error: str) -> bool:
    return word_of(ResponseError(error)) == "NOPERM"
