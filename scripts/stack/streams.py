"""A look into the streams without redis-cli: depth, pending, age of the oldest, and the last entries of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from scripts.stack.errors import StackError
from shared.contract.catalogue import Catalogue
from shared.contract.errors import MalformedMessage
from shared.contract.keys import Keys
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.queues import queues_of
from shared.contract.registry import decode_registry
from shared.streams.model_registry import CONTENT

LONGEST_VALUE = 60
LAST_ENTRIES = 3
TIMEOUT_S = 5


@dataclass(frozen=True)
class StreamView:
    """One stream; `pending` is None where nobody reads it in a group, and nobody computes what is in an `orphan`."""

    key: str
    depth: int
    pending: int | None
    oldest_age_s: float | None
    last: list[tuple[str, dict[str, str]]]
    orphan: bool = False


def look(url: str, prefix: str, count: int = LAST_ENTRIES, catalogue: Catalogue | None = None) -> list[StreamView]:
    """Every stream of the pipeline, request streams first.

    Args:
        catalogue: of the file; None if it cannot be read.

    Raises:
        StackError: Redis can't be reached.
    """
    keys = Keys(prefix)
    groups = {keys.results: Keys.PERSISTER_GROUP, keys.dead: None}
    try:
        with Redis.from_url(url, decode_responses=True, protocol=2, socket_timeout=TIMEOUT_S) as redis:
            requests = sorted(redis.scan_iter(match=f"{_literal(keys.requests('', '')[:-1])}*", _type="stream"))
            wanted = {**dict.fromkeys(requests, Keys.WORKER_GROUP), **groups}
            now_ms = _now_ms(redis)
            views = [_view(redis, key, group, now_ms, count) for key, group in wanted.items()]
            mine = _computed(redis, keys, catalogue)
            return [replace(each, orphan=mine is not None and each.key not in {*mine, *groups}) for each in views]
    except RedisError as error:
        raise StackError(f"Redis can't be asked ({type(error).__name__}): is the stack up? See make status") from error


def render(views: list[StreamView]) -> Iterator[str]:
    """Lines for a person."""
    width = max((len(view.key) for view in views), default=0)
    yield f"{'STREAM':<{width}}  {'DEPTH':>7}  {'PENDING':>7}  {'OLDEST':>9}"
    for view in views:
        pending = "-" if view.pending is None else str(view.pending)
        oldest = "-" if view.oldest_age_s is None else f"{view.oldest_age_s:.1f} s"
        mark = "  not in the catalogue" if view.orphan else ""
        yield f"{view.key:<{width}}  {view.depth:>7}  {pending:>7}  {oldest:>9}{mark}"
    for view in views:
        if view.last:
            yield f"\n{view.key}, last {len(view.last)}:"
        for entry_id, fields in view.last:
            yield f"  {entry_id}  {shortened(fields)}"


def shortened(fields: Mapping[str, str], longest: int = LONGEST_VALUE) -> str:
    """The fields of an entry on one line, long values cut."""
    return "  ".join(f"{name}={_cut(value, longest)}" for name, value in fields.items())


def _cut(value: str, longest: int) -> str:
    plain = value.replace("\n", " ")
    return plain if len(plain) <= longest else f"{plain[:longest]}… ({len(value)} characters)"


def _view(redis: Any, key: str, group: str | None, now_ms: int, count: int) -> StreamView:
    first = redis.xrange(key, count=1)
    return StreamView(
        key=key,
        depth=redis.xlen(key),
        pending=_pending(redis, key, group) if group else None,
        oldest_age_s=max(0, now_ms - int(first[0][0].split("-")[0])) / 1000 if first else None,
        last=list(reversed(redis.xrevrange(key, count=count))),
    )


def _computed(redis: Any, keys: Keys, catalogue: Catalogue | None) -> set[str] | None:
    """The streams that workers read: of versions of the file and of those registered by API; None if not known."""
    if catalogue is None:
        return None
    live = LiveCatalogue(catalogue)
    registry = redis.hget(keys.registry, CONTENT)
    try:
        if registry is not None:
            live.follow(decode_registry(registry))
    except MalformedMessage:  # of a later version
        return None
    labels = [*(each.label for each in live.served()), *live.leaving]
    return {keys.requests(*queue) for label in labels for queue in queues_of(*label.split(":"))}


def _pending(redis: Any, key: str, group: str) -> int | None:
    try:
        return int(redis.xpending(key, group)["pending"])
    except ResponseError:  # no such group yet
        return None


def _now_ms(redis: Any) -> int:
    seconds, microseconds = redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _literal(text: str) -> str:
    """The text with Redis's pattern characters escaped."""
    return "".join(f"\\{each}" if each in "*?[]^\\" else each for each in text)
