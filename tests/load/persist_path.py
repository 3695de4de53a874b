"""The persist path: how fast finished predictions come from the result stream into Postgres.

`python -m tests.load.persist_path` measures the persister as a process, with a result stream that was filled before,
and what Postgres does with the same rows in the same table by itself: INSERT SELECT FROM unnest, 500 rows a statement,
and COPY. They take turns; each begins with an empty table, and fails unless it ends with all the rows in it. Entries
and states are copies of one that a publisher and a worker have made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from redis.asyncio import Redis

from persister.database import ADD, TYPES, arrays
from persister.rows import row_of
from shared.contract.ids import uuid7
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status, decode_request, decode_result
from shared.streams.request_stream import Completed
from tests.e2e.conftest import services
from tests.load.cpu import cpu_seconds
from tests.load.rows import BATCH, TEXT
from tests.load.stores import Stores, pid_of, running_stores
from tests.processes import Service
from tests.streams import MODEL, VERSION, publish, stream

ANSWER = b'{"label":"POSITIVE","scores":{"NEGATIVE":0.04,"POSITIVE":0.96}}'
OUTCOME = Outcome(Status.SUCCEEDED, ANSWER, 0.96, 12, 3, worker="host-1-abcdef12", tokens=16, compute_us=1000)
WARM_UP_SHARE = 0.1  # of the persister's rows: it is measured from then on
PERSISTER, INSERT, COPY = "persister", "INSERT unnest", "COPY"
VERSION_ID = "SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.name = $1 AND v.version = $2"
MAKE_PARTITION = "SELECT make_predictions_partition(date_trunc('month', now() AT TIME ZONE 'UTC')::date)"

Entry = Mapping[bytes, bytes]


class Measured(NamedTuple):
    """One run: rows a second, and the CPU seconds of all processes for 1,000 rows."""

    round: int
    name: str
    rate: float
    cpu_s_per_1000: float


async def template(redis: Any, keys: Keys) -> tuple[Entry, Entry]:
    """A result as it waits in the stream, and the state of its prediction."""
    (prediction_id,) = await publish(redis, keys, TEXT)
    worker = stream(redis, keys, "w1")
    await worker.join()
    (delivery,) = (await worker.read(1, 10)).deliveries
    await worker.complete([Completed(delivery, decode_request(delivery.fields), OUTCOME)])
    ((entry, fields),) = await redis.xrange(keys.results)
    state = await redis.hgetall(keys.prediction(prediction_id))
    await redis.xdel(keys.results, entry)
    await redis.delete(keys.prediction(prediction_id))
    return fields, state


async def fill(redis: Any, keys: Keys, entries: Sequence[Entry], state: Entry) -> None:
    """Add results to the stream, each with the state of its prediction."""
    for start in range(0, len(entries), BATCH):
        async with redis.pipeline(transaction=False) as pipe:
            for each in entries[start : start + BATCH]:
                pipe.xadd(keys.results, dict(each))
                pipe.hset(keys.prediction(each[b"id"].decode()), mapping=dict(state))
            await pipe.execute()


async def drained(redis: Any, keys: Keys, count: int, persister: Service, pids: Sequence[int]) -> tuple[float, float]:
    """Wait until the stream is empty; rows a second and CPU seconds a row, from when the persister was warm."""
    warm, started, before = count, 0.0, 0.0
    while left := await redis.xlen(keys.results):
        assert persister.process.poll() is None, persister.log.read_text()
        if not started and left <= count * (1 - WARM_UP_SHARE):
            warm, started, before = left, time.perf_counter(), sum(map(cpu_seconds, pids))
        await asyncio.sleep(0.02)
    return warm / (time.perf_counter() - started), (sum(map(cpu_seconds, pids)) - before) / warm


async def measured(stores: Stores, folder: Path, count: int, number: int) -> AsyncIterator[Measured]:
    """All subjects, in one round.

    Raises:
        AssertionError: the table does not hold all rows, and nothing else, when a subject is done.
    """
    keys, redis = Keys("millstream:"), Redis.from_url(stores.redis.url)
    connection = await asyncpg.connect(stores.postgres.url)
    version_id = await connection.fetchval(VERSION_ID, MODEL, VERSION)
    await connection.execute(MAKE_PARTITION)
    fields, state = await template(redis, keys)
    now_ms = int(time.time() * 1000)
    entries = [{**fields, b"id": uuid7(now_ms, each).encode()} for each in range(count)]
    rows = [row_of(decode_result(each)) for each in entries]
    names = {(MODEL, VERSION): version_id}
    servers = [pid_of(stores.postgres), pid_of(stores.redis)]
    for name in (INSERT, PERSISTER, COPY):
        await connection.execute("TRUNCATE predictions, usage")
        await connection.execute("CHECKPOINT")
        if name == PERSISTER:
            await fill(redis, keys, entries, state)
            with services(stores.environment, folder) as start:
                persister = start("persister", ready=False)
                rate, cpu_s = await drained(redis, keys, count, persister, [*servers, persister.process.pid])
            assert await redis.dbsize() < 100, "states are left behind"
        else:
            started, before = time.perf_counter(), cpu_seconds(servers[0]) + time.process_time()
            if name == INSERT:  # as fast as statements can: each a transaction by itself, and prepared once
                for at in range(0, count, BATCH):
                    await connection.execute(ADD, *arrays(rows[at : at + BATCH], names))
            else:
                records = zip_longest(*arrays(rows, names))
                await connection.copy_records_to_table("predictions", records=records, columns=list(TYPES))
            rate = count / (time.perf_counter() - started)
            cpu_s = (cpu_seconds(servers[0]) + time.process_time() - before) / count
        stored = await connection.fetchval("SELECT count(*) FROM predictions")
        assert stored == count, f"{name}: {stored} rows of {count}"
        yield Measured(number, name, rate, cpu_s * 1000)
    await connection.close()
    await redis.aclose()


async def measure(rounds: int, count: int) -> None:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory() as path,
        running_stores(Path(path), MODEL, maxmemory="4gb", durable=True) as stores,
    ):
        for number in range(rounds):
            async for each in measured(stores, Path(path), count, number):
                print(json.dumps(each._asdict()), flush=True)
                print(f"{each.name:<16}{each.rate:>9.0f} rows/s {each.cpu_s_per_1000:.4f} CPU s", file=sys.stderr)


def main() -> None:
    """Measure; prints a line of JSON for each run, and a readable one to where errors go."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.persist_path", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--rows", type=int, default=60_000, help="of each run (default: 60000)")
    parsed = parser.parse_args()
    asyncio.run(measure(parsed.rounds, parsed.rows))


if __name__ == "__main__":
    main()
