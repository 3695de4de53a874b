"""What each error of Redis means: whether it passes, whether another connection would help, and how to say it.

Redis's errors begin with a word. Redis 6.2 puts the errors of a script's commands into a sentence of its own, and
redis-py takes the word off some: so it is looked for in the code, in the class and in the text. A right that is missing
has no word at all inside a script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoPermissionError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.contract.errors import StoreUnavailable, is_closed_transport


class Meaning(NamedTuple):
    """What an error that passes means.

    Attributes:
        reason: a short code, see `StoreUnavailable`.
        sentence: for people.
        reconnect: the server is the wrong one, so the connection is closed: a new one may lead to the right one.
    """

    reason: str
    sentence: str
    reconnect: bool = False


NO_PERMISSION = "no_permission"
UNKNOWN_COMMAND = "unknown_command"
LONGEST_MESSAGE = 300
_A_REPLICA = "it is a read-only replica; if a primary was demoted, its name must lead to the new one"
_LOGIN = "it does not accept the user or password of REDIS_URL"

PASSING: Mapping[str, Meaning] = {
    "READONLY": Meaning("read_only", _A_REPLICA, True),
    "UNBLOCKED": Meaning("read_only", "it became a replica", True),
    "MASTERDOWN": Meaning("read_only", "it is a replica that has lost its primary", True),
    "MOVED": Meaning(
        "cluster", "it is part of a cluster and the key is on another node; Millstream wants one primary", True
    ),
    "CROSSSLOT": Meaning("cluster", "it is part of a cluster; Millstream wants one primary that is not"),
    "CLUSTERDOWN": Meaning("cluster", "its cluster is down"),
    "TRYAGAIN": Meaning("cluster", "its cluster is moving keys"),
    "LOADING": Meaning("loading", "it is loading its data"),
    "BUSY": Meaning("busy", "it is busy with a script"),
    "MISCONF": Meaning(
        "misconf", "it cannot save its data and accepts no writes: see its log, and the room on its disk"
    ),
    "NOREPLICAS": Meaning("no_replicas", "too few replicas are connected (min-replicas-to-write)"),
    "OOM": Meaning("out_of_memory", "out of memory"),
    "NOAUTH": Meaning("login_refused", _LOGIN),
    "WRONGPASS": Meaning("login_refused", _LOGIN),
    "NOPERM": Meaning(NO_PERMISSION, "a right is missing"),
}
_WORD = re.compile(rf"(?:^|[\s-])({'|'.join(PASSING)})(?=\s)")
_UNKNOWN_COMMAND = re.compile(r"unknown (?:redis )?command(?: '?([\w|-]+))?", re.IGNORECASE)
_DENIED = re.compile(r"no permissions to |user executing the script can't ", re.IGNORECASE)
_COMMAND = re.compile(r"'([\w|-]+)' command")
_SCRIPT_LINE = re.compile(r"user_script:(\d+)")
CALL = re.compile(r"call\('(?:(XGROUP|XINFO)', '([A-Z]+)'|([A-Z]+)')")  # of a command in a script


def word_of(error: Exception) -> str:
    """The word of an error that passes; empty if it does not."""
    if isinstance(error, ReadOnlyError):
        return "READONLY"
    code = getattr(error, "status_code", None)
    if code in PASSING:
        return str(code)
    if isinstance(error, AuthenticationError):
        return "WRONGPASS"
    if isinstance(error, NoPermissionError) or (isinstance(error, ResponseError) and _DENIED.search(str(error))):
        return "NOPERM"
    found = _WORD.search(f"{error} ")
    return found[1] if found else ""


def is_missing_group(error: Exception) -> bool:
    """Whether a stream or its consumer group is missing: not created yet, or Redis was flushed or restored."""
    return "NOGROUP" in str(error)


def is_missing_stream(error: Exception) -> bool:
    """Whether the stream, or the group in it, is missing."""
    return is_missing_group(error) or "no such key" in str(error)


def wants_reconnect(error: Exception) -> bool:
    """Whether the connection leads to the wrong server."""
    word = word_of(error)
    return bool(word) and PASSING[word].reconnect


def denied(error: str, user: str = "", script: str = "") -> str:
    """Say which right is missing.

    Args:
        error: as Redis says it.
        user: who lacks it, if that is known.
        script: the source of the script that was refused, in which the command is looked up: Redis names only its line.
    """
    who = f"the Redis user {user!r}" if user else "the Redis user"
    if "channel" in error:
        return f"{who} may not access a channel that it needs (the prefix is KEY_PREFIX and `notify:`)"
    if " key" in error:
        return f"{who} may not access a key that it needs (the prefix is KEY_PREFIX)"
    found, line = _COMMAND.search(error), _SCRIPT_LINE.search(error)
    if found:
        return f"{who} may not run {found[1].replace('|', ' ')!r}"
    call = CALL.search(script.split("\n")[int(line[1]) - 1]) if line and script else None
    name = " ".join(filter(None, call.groups())).lower() if call else ""
    return f"{who} may not run {name!r}" if name else f"{who} may not run a command of a script"


def all_denied(refused: Mapping[str, str], user: str) -> str:
    """Say which rights are missing, from the errors of the commands that were refused."""
    places = {denied(error, user) for error in refused.values() if " key" in error or "channel" in error}
    commands = [name.lower() for name, error in refused.items() if " key" not in error and "channel" not in error]
    may_not = [f"the Redis user {user!r} may not run {', '.join(map(repr, commands))}"] if commands else []
    return "; ".join([*may_not, *sorted(places)])


def unavailable(error: Exception, script: str = "") -> StoreUnavailable | None:
    """What an error means; None for a stream or group that is missing, as callers expect, and for a fault of ours.

    Args:
        script: the source of the script that was run.
    """
    word = word_of(error)
    if word == "NOPERM":
        return StoreUnavailable("redis", denied(str(error), getattr(error, "user", ""), script), NO_PERMISSION)
    if word:
        return StoreUnavailable("redis", f"{word}: {PASSING[word].sentence}", PASSING[word].reason)
    if isinstance(error, InvalidResponse):
        return StoreUnavailable("redis", "what answers at REDIS_URL is not a Redis", "not_redis")
    if isinstance(error, ResponseError):
        return None if is_missing_stream(error) else _unknown(error)
    if isinstance(error, RuntimeError) and is_closed_transport(error):
        return StoreUnavailable("redis", "connection cut", "connection")
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OSError):
        return _unconnected(error)
    return None


def _unknown(error: ResponseError) -> StoreUnavailable:
    """An error without a meaning of its own: nothing that Redis answers may stop a service."""
    message = _said(error).partition(", with args")[0]  # which may be what a client sent
    command = _UNKNOWN_COMMAND.search(message)
    if command:
        name = command[1] or "of a script"
        sentence = f"it does not know the command {name!r}: it is too old, or the command was renamed"
        return StoreUnavailable("redis", sentence, UNKNOWN_COMMAND)
    return StoreUnavailable("redis", f"an error that Millstream does not know: {message}", "unknown")


def _unconnected(error: Exception) -> StoreUnavailable:
    if "number of clients" in str(error):
        return StoreUnavailable("redis", "it has as many clients as it takes (maxclients)", "too_many_clients")
    if "No connection available" in str(error):
        return StoreUnavailable("redis", "all connections of this process are in use", "no_free_connection")
    return StoreUnavailable("redis", ": ".join(filter(None, (type(error).__name__, _said(error)))), "connection")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST_MESSAGE]


@contextmanager
def redis_errors(script: str = "") -> Iterator[None]:
    """Turn whatever Redis or the connection to it fails with into `StoreUnavailable`, except what callers expect.

    Args:
        script: the source of the script that is run.

    Raises:
        ResponseError: a stream or group is missing.
    """
    try:
        yield
    except (RedisError, OSError, RuntimeError) as error:
        meant = unavailable(error, script)
        if meant is None:
            raise
        raise meant from error
