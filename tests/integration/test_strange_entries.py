"""Whatever stands in a stream is read, stored, or kept as a dead letter: nothing stops a reader, nothing stays behind.

`STRANGE_EXAMPLES` (500) says how many entries are made up; `make fuzz` tries 10,000.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from persister.batch_writer import BatchWriter, decoded
from persister.database import Database
from persister.settings import PersisterSettings
from shared.contract.errors import MalformedMessage
from shared.contract.inputs import strings_of
from shared.contract.keys import Keys
from shared.contract.messages import decode_request
from shared.service.liveness import Liveness
from shared.streams.result_stream import ResultStream
from tests.access import environment_of, shard_of
from tests.streams import Redis

ENTRIES_AN_EXAMPLE = 25
EXAMPLES = max(1, int(os.environ.get("STRANGE_EXAMPLES", "500")) // ENTRIES_AN_EXAMPLE)

ID = b"0192f3a4-5b6c-7d8e-8f90-a1b2c3d4e5f6"
RESULT = {
    b"schema": b"1",
    b"id": ID,
    b"attempt": b"0",
    b"model": b"echo",
    b"version": b"2.0.0",
    b"input": b'{"text":"a"}',
    b"options": b"{}",
    b"principal": b"",
    b"traceparent": b"",
    b"status": b"succeeded",
    b"result": b'{"echo":"a"}',
    b"confidence": b"0.5",
    b"processing_time_ms": b"7",
    b"queue_time_ms": b"3",
    b"error": b"",
    b"worker": b"w1",
    b"cached": b"0",
    b"completed_at": b"1795000000000",
    b"callback_url": b"https://hooks.example.com/x?a=b",
}
REQUEST = {name: RESULT[name] for name in [*list(RESULT)[:9], b"callback_url"]} | {
    b"submitted_at": b"1795000000000",
    b"deadline_at": b"1795000060000",
}

numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(lambda number: str(number).encode()),
    st.sampled_from([b"2147483647", b"2147483648", b"9223372036854775807", b"253402300800000", b"62135596800001"]),
    st.floats().map(lambda number: repr(number).encode()),
    st.sampled_from(["²", "٣", "１２", "0x10", "1_000", " 7", "7 "]).map(str.encode),
)
names = st.one_of(st.text(max_size=250).map(str.encode), st.sampled_from([b"", b"e\0cho", b"m" * 101, b"echo ", b":"]))
documents = st.one_of(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats(allow_nan=False)
        | st.text(max_size=20)
        | st.integers(-(2**63), 2**64 - 1),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ).map(lambda value: orjson.dumps({"text": value})),
    st.sampled_from(
        [
            b'{"text":"\\u0000"}',
            b'{"\\u0000":1}',
            b'{"text":"\\ud800"}',
            b'{"text":1e400}',
            b'{"text":' + b"9" * 400 + b"}",
            b'{"text":-0.0}',
            b'{"a":' * 500 + b"1" + b"}" * 500,
            b'{"a":' * 1020 + b"1" + b"}" * 1020,
            b'{"text":"a","text":"b"}',
            b"[]",
            b"null",
            b'"a"',
            b"{",
            b"\xff{}",
        ]
    ),
)
ids = st.one_of(
    st.uuids().map(lambda uuid: str(uuid).encode()),
    st.sampled_from([b"0" * 36, b"00000000-0000-0000-0000-000000000000", b"ffffffff-ffff-ffff-ffff-ffffffffffff", b""]),
    st.sampled_from([ID.upper(), ID[:-1], ID + b"\n"]),
)
statuses = st.sampled_from([b"succeeded", b"failed", b"expired", b"cancelled", b"queued", b"SUCCEEDED", b""])
urls = st.sampled_from(
    [
        b"http://[",
        b"https://a]b/",
        b"https://[v1.x]/",
        b"https://a:99999/",
        b"//",
        b"?",
        b"https://a/\n",
        b"https://\x01/",
    ]
)
anything = st.one_of(st.binary(max_size=300), numbers, names, documents, ids, statuses)


def entries_like(good: dict[bytes, bytes]) -> st.SearchStrategy[dict[bytes, bytes]]:
    """Entries with some fields changed, some missing and some unknown."""
    fitting = {b"id": ids, b"status": statuses, b"model": names, b"version": names, b"input": documents}
    fitting |= {b"result": documents, b"options": documents, b"callback_url": urls}
    changed = st.sampled_from(sorted(good)).flatmap(
        lambda name: st.tuples(st.just(name), st.one_of(fitting.get(name, numbers), anything))
    )
    unknown = st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=20))
    changes = st.lists(st.one_of(changed, changed, changed, unknown), max_size=4).map(dict)
    missing: st.SearchStrategy[set[bytes]] = st.sets(st.sampled_from(sorted(good)), max_size=2)
    fresh_id = st.uuids(version=4).map(lambda uuid: {b"id": str(uuid).encode()})
    return st.builds(
        lambda fresh, new, gone: {name: value for name, value in {**good, **fresh, **new}.items() if name not in gone}
        or {b"nothing": b""},
        fresh_id,
        changes,
        missing,
    )


@pytest.fixture
async def store(environment: dict[str, str]) -> AsyncIterator[Database]:
    values: dict[str, Any] = {name.lower(): value for name, value in environment_of("persister", environment).items()}
    made = Database(PersisterSettings(**values))
    yield made
    await made.close()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="STRANGE_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
    phases=(
        Phase.explicit,
        Phase.generate,
    ),  # each example takes the stores' time: the failing entry is printed as it is
    database=None,
)
@example([{**RESULT, b"callback_url": b"https://["}])
@given(st.lists(entries_like(RESULT), min_size=ENTRIES_AN_EXAMPLE, max_size=ENTRIES_AN_EXAMPLE))
async def test_every_result_is_stored_or_a_dead_letter(
    redis: Redis, keys: Keys, store: Database, database: asyncpg.Connection, entries: list[dict[bytes, bytes]]
) -> None:
    stream = ResultStream(shard_of("persister", redis, keys), "p1")
    await stream.join()
    for fields in entries:
        await redis.xadd(keys.results, dict(fields))
    deliveries = await stream.read(len(entries), 0)
    assert len(deliveries) == len(entries)
    await BatchWriter(stream, store, Liveness(30)).write(await decoded(deliveries))
    (group,) = await redis.xinfo_groups(keys.results)
    assert (await redis.xlen(keys.results), group["pending"]) == (0, 0)
    rows = {str(row["id"]).encode() for row in await database.fetch("SELECT id FROM predictions")}
    dead = {fields[b"source_entry"].decode() for _, fields in await redis.xrange(keys.dead)}
    for delivery in deliveries:
        assert delivery.fields.get(b"id") in rows or delivery.entry in dead, delivery
    await database.execute("TRUNCATE predictions, webhooks")
    await redis.delete(keys.dead)


@settings(max_examples=EXAMPLES * ENTRIES_AN_EXAMPLE, deadline=None, derandomize="STRANGE_EXAMPLES" not in os.environ)
@given(entries_like(REQUEST))
def test_every_request_is_read_or_refused_with_a_reason(fields: dict[bytes, bytes]) -> None:
    try:
        request = decode_request(fields)
    except MalformedMessage as error:
        assert error.reason and str(error)
        return
    assert 0 <= request.submitted_at < 2**53 and 0 <= request.deadline_at < 2**53
    assert 0 <= request.attempt < 2**31
    assert 0 < len(request.model) <= 100 and 0 < len(request.version) <= 20
    assert "\0" not in request.model and "\0" not in "".join(strings_of(request.input))
    assert len(request.principal) <= 200
