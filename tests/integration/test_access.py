"""Each service's user of Redis is refused whatever is not its own, by every server, within scripts too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from scripts.stack.ports import free_port
from scripts.stack.redis import RedisServer, redis_url
from shared.contract.keys import Keys
from shared.streams.access import OPERATOR, SCALER, USERS, acl_file, password_hash, rules
from shared.streams.redis_errors import word_of
from tests.access import refusals

pytestmark = pytest.mark.every_server

OPERATORS = (
    "FLUSHALL",
    "KEYS *",
    "CONFIG SET maxmemory 1",
    "ACL LIST",
    "SHUTDOWN",
    "MONITOR",
    "SCAN 0",
)
# What each could do if it had more than its own.
OTHERS = {
    "gateway": ("DEL {results}", "XREADGROUP GROUP workers w STREAMS {requests} >", "PUBLISH other:notify:x m"),
    "worker": ("GET {deployment}", "HGETALL {idempotency}", "SUBSCRIBE {notify}", "ZRANGE {deadlines} 0 -1"),
    "persister": ("HGET {worker} serves", "GET {idempotency}", "SUBSCRIBE {notify}", "XTRIM {requests} MAXLEN 0"),
    SCALER: ("XRANGE {results} - +", "XLEN {dead}", "EVALSHA x 0", "INFO"),
}


@pytest.fixture
async def users(redis: Any, redis_server: RedisServer, keys: Keys) -> AsyncIterator[dict[str, Any]]:
    """A client for each user, whose rights are for this test's prefix alone."""
    clients = {}
    for user in OTHERS:
        name = f"{user}-{keys.prefix[:-1]}"
        await redis.execute_command("ACL", "SETUSER", name, "reset", "on", ">pw", *rules(user, keys.prefix).split())
        clients[user] = Redis.from_url(redis_url(redis_server.port, "pw", name), protocol=2, driver_info=None)
    yield clients
    for user, client in clients.items():
        await client.aclose()
        await redis.execute_command("ACL", "DELUSER", f"{user}-{keys.prefix[:-1]}")
    await refusals(redis)


def named(keys: Keys, command: str) -> list[str]:
    """A command with keys in it; the kinds of keys stand in braces."""
    some = {"requests": keys.requests("m", "1"), "idempotency": keys.idempotency("", "k"), "worker": keys.worker("w")}
    single = {kind: getattr(keys, kind) for kind in ("results", "dead", "deployment", "deadlines")}
    return command.format(**some, **single, notify=keys.notify("g")).split()


async def is_refused(client: Any, *command: str) -> bool:
    """Whether a user may not run a command; any other answer says that it may."""
    try:
        await client.execute_command(*command)
    except ResponseError as error:
        return word_of(error) == "NOPERM"
    return False


@pytest.mark.parametrize("user", OTHERS)
async def test_a_user_is_refused_what_is_not_its_own(users: dict[str, Any], keys: Keys, user: str) -> None:
    for command in (*OPERATORS, *OTHERS[user]):
        assert await is_refused(users[user], *named(keys, command)), command
    assert await users[user].ping()


@pytest.mark.parametrize("user", USERS.values())
async def test_a_user_is_refused_the_keys_of_another_prefix_within_scripts_too(
    users: dict[str, Any], redis: Any, keys: Keys, user: str
) -> None:
    other = Keys(f"other-{keys.prefix}").results
    await redis.xadd(other, {"secret": "x"})
    assert await is_refused(users[user], "XPENDING", other, "g")
    reads = await users[user].script_load("return redis.call('XPENDING', ARGV[1], 'g')")
    assert await is_refused(users[user], "EVALSHA", reads, "0", other)
    flushes = await users[user].script_load("return redis.call('FLUSHALL')")
    assert await is_refused(users[user], "EVALSHA", flushes, "0")
    assert await redis.xlen(other) == 1


async def test_who_is_no_user_of_the_file_is_not_let_in(redis: Any, redis_server: RedisServer) -> None:
    """The operator has a password in the stacks: without it nobody is let in at all."""
    for login in ("", "worker:wrong@", "nobody:x@", f"{OPERATOR}:wrong@"):
        await redis.execute_command("ACL", "SETUSER", OPERATOR, "resetpass", ">operators")
        client = Redis.from_url(redis_server.url.replace("redis://", f"redis://{login}"), protocol=2)
        with pytest.raises(Exception, match="(?i)auth|password"):
            await client.ping()
        await redis.execute_command("ACL", "SETUSER", OPERATOR, "nopass")
        await client.aclose()


def test_a_file_of_users_is_made_anew_at_each_start(tmp_path: Any, redis_server: RedisServer) -> None:
    """A user whose rights or password changed has the new ones; nobody else can read the file."""
    program = redis_server._program
    for password in ("first", "a b@:/%?#é"):
        users = acl_file("p:", {OPERATOR: password_hash(password), "worker": password_hash("w")})
        server = RedisServer(tmp_path / "redis", free_port(), program=program, password=password, users=users)
        server.start()
        try:
            assert (tmp_path / "redis" / "users.acl").stat().st_mode & 0o777 == 0o600
            assert "pw" not in (tmp_path / "redis" / "users.acl").read_text(encoding="utf-8")
        finally:
            server.stop()
