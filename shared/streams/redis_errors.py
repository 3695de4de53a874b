"""What each error of Redis means: whether it passes, whether another connection would help, and how to say it.

Redis's errors begin with a word. Redis 6.2 puts the errors of a script's commands into a sentence of its own, and
redis-py takes the word off some: so it is looked for in the code, in the class and in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.contract.errors import StoreUnavailable, is_closed_transport


class Meaning(NamedTuple):
    """What an error that passes means.

    Attributes:
        sentence: for people.
        reconnect: the server is the wrong one, so the connection is closed: a new one may lead to the right one.
    """

    sentence: str
    reconnect: bool = False


PASSING: Mapping[str, Meaning] = {
    "READONLY": Meaning("it is a read-only replica; if a primary was demoted, its name must lead to the new one", True),
    "UNBLOCKED": Meaning("it became a replica", True),
    "MOVED": Meaning("it is part of a cluster and the key is on another node; Millstream wants one primary", True),
    "MASTERDOWN": Meaning("it is a replica that has lost its primary", True),
    "LOADING": Meaning("it is loading its data"),
    "BUSY": Meaning("it is busy with a script"),
    "MISCONF": Meaning("it cannot save its data and accepts no writes: see its log, and the room on its disk"),
    "NOREPLICAS": Meaning("too few replicas are connected (min-replicas-to-write)"),
    "CLUSTERDOWN": Meaning("its cluster is down"),
    "TRYAGAIN": Meaning("its cluster is moving keys"),
    "OOM": Meaning("out of memory"),
}
_WORD = re.compile(rf"(?:^|[\s-])({'|'.join(PASSING)})(?=\s)")


def word_of(error: Exception) -> str:
    """The word of an error that passes; empty if it does not."""
    if isinstance(error, ReadOnlyError):
        return "READONLY"
    code = getattr(error, "status_code", None)
    if code in PASSING:
        return str(code)
    if "OOM command not allowed" in str(error):
        return "OOM"
    found = _WORD.search(f"{error} ")
    return found[1] if found else ""


def wants_reconnect(error: Exception) -> bool:
    """Whether the connection leads to the wrong server."""
    word = word_of(error)
    return bool(word) and PASSING[word].reconnect


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn a failed connection, and a server that is full or cannot serve now, into `StoreUnavailable`."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise StoreUnavailable("redis", type(error).__name__) from error
    except RuntimeError as error:
        if is_closed_transport(error):
            raise StoreUnavailable("redis", "connection cut") from error
        raise
    except ResponseError as error:
        word = word_of(error)
        if word:
            raise StoreUnavailable("redis", f"{word}: {PASSING[word].sentence}") from error
        raise
