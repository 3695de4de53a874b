"""What is kept of inputs, from the queue to the row: whole, a digest, or nothing."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from redis.asyncio import Redis

from shared.contract.catalogue import Catalogue, StoreInput
from shared.contract.errors import ConfigurationError
from shared.contract.keys import Keys
from shared.contract.messages import decode_result
from shared.streams.publishing import Group, Publisher
from shared.streams.result_cache import CachedResult
from shared.streams.shard import Shard
from tests.gateways import Client, HandWorker, StartGateway, persist_everything, shown
from tests.streams import LIMITS, new_request

TEXT, SECRET = "my name is Ann", "0123456789abcdef0123456789abcdef"
DIGEST = {"text_hmac_sha256": hmac.digest(SECRET.encode(), TEXT.encode(), "sha256").hex()}
KEPT: list[tuple[StoreInput, dict[str, str]]] = [("whole", {"text": TEXT}), ("digest", DIGEST), ("none", {})]
INPUT_BYTES = len(orjson.dumps({"text": TEXT})) + len(b"{}")


def keeping(catalogue: Catalogue, store_input: StoreInput) -> Catalogue:
    """The catalogue, with what is kept of the inputs of its models."""
    models = tuple(each.model_copy(update={"store_input": store_input}) for each in catalogue.models)
    return catalogue.model_copy(update={"models": models})


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n", encoding="utf-8")
    return path


@pytest.fixture(params=KEPT, ids=lambda param: param[0])
def kept(request: pytest.FixtureRequest) -> tuple[StoreInput, dict[str, str]]:
    found: tuple[StoreInput, dict[str, str]] = request.param
    return found


@pytest.fixture
def catalogue(catalogue: Catalogue, kept: tuple[StoreInput, dict[str, str]]) -> Catalogue:
    return keeping(catalogue, kept[0])


@pytest.fixture
async def gateway(start_gateway: StartGateway, secret_file: Path) -> Client:
    return await start_gateway(input_digest_secret_file=secret_file)


async def submit(gateway: Client) -> str:
    async with gateway.post("/api/v1/predict?wait=0", json={"model": "echo", "text": TEXT}) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["prediction_id"])


async def everything(redis: Any, keys: Keys) -> bytes:
    """All that the streams hold."""
    found = [await redis.xrange(key) async for key in redis.scan_iter(f"{keys.prefix}*", _type="stream")]
    return repr(found).encode()


async def test_from_its_end_on_only_what_is_to_be_kept_is_there(
    gateway: Client,
    worker: HandWorker,
    redis: Redis,
    keys: Keys,
    database_url: str,
    database: asyncpg.Connection,
    kept: tuple[StoreInput, dict[str, str]],
) -> None:
    prediction_id = await submit(gateway)
    ((delivery, request),) = await worker.take()
    assert request.input == TEXT, "the model sees the text"
    await worker.finish([(delivery, request)])
    assert (await shown(gateway, prediction_id)).get("input", {}) == kept[1]
    assert (TEXT.encode() in await everything(redis, keys)) == (kept[0] == "whole")
    await persist_everything(redis, keys, database_url)
    assert (await shown(gateway, prediction_id)).get("input", {}) == kept[1]
    row = await database.fetchrow("SELECT input_data::text, input_bytes FROM predictions")
    assert row and orjson.loads(row["input_data"]) == kept[1]
    assert row["input_bytes"] == INPUT_BYTES, "usage counts what was sent"


async def test_of_other_json_no_more_is_kept(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, kept: tuple[StoreInput, dict[str, str]]
) -> None:
    value = {"about": [TEXT]}
    async with gateway.post("/api/v1/predict?wait=0", json={"model": "echo", "input": value}) as answer:
        prediction_id = str((await answer.json())["prediction_id"])
    ((delivery, request),) = await worker.take()
    assert request.input == value
    await worker.finish([(delivery, request)])
    digest = hmac.digest(SECRET.encode(), orjson.dumps(value), "sha256").hex()
    expected = {"whole": value, "digest": {"input_hmac_sha256": digest}, "none": {}}[kept[0]]
    assert (await shown(gateway, prediction_id)).get("input", {}) == expected
    assert (TEXT.encode() in await everything(redis, keys)) == (kept[0] == "whole")


async def test_an_expired_request_keeps_no_more(
    gateway: Client, redis: Redis, keys: Keys, kept: tuple[StoreInput, dict[str, str]]
) -> None:
    body = {"model": "echo", "text": TEXT}
    async with gateway.post("/api/v1/predict?timeout=0.001", json=body) as answer:
        assert answer.status == 504
        prediction_id = (await answer.json())["prediction_id"]
    assert (await shown(gateway, prediction_id)).get("input", {}) == kept[1]
    assert (TEXT.encode() in await everything(redis, keys)) == (kept[0] == "whole")


async def test_a_dead_letter_has_its_input_until_it_is_replayed_and_its_prediction_does_not(
    gateway: Client, worker: HandWorker, redis: Any, keys: Keys, kept: tuple[StoreInput, dict[str, str]]
) -> None:
    prediction_id = await submit(gateway)
    ((delivery, _),) = await worker.take()
    await worker.stream.dead_letter(delivery._replace(deliveries=4), "max_deliveries", "it kills its workers")
    assert (await shown(gateway, prediction_id)).get("input", {}) == kept[1]
    ((entry, fields),) = await redis.xrange(keys.dead)
    assert TEXT.encode() in fields[b"input"]
    async with gateway.post(f"/api/v1/dead-letters/{entry.decode()}/replay") as answer:
        assert answer.status == 202, await answer.text()
    ((delivery, request),) = await worker.take()
    assert request.input == TEXT
    await worker.finish([(delivery, request)])
    await redis.xtrim(keys.results, minid=(await redis.xrevrange(keys.results, count=1))[0][0])  # of the first attempt
    assert (await shown(gateway, prediction_id)).get("input", {}) == kept[1]
    assert (TEXT.encode() in await everything(redis, keys)) == (kept[0] == "whole")


async def test_an_answer_of_the_cache_keeps_no_more(redis: Any, keys: Keys) -> None:
    """One that is answered at once goes to the results without ever waiting."""
    kept, as_it_is = (
        new_request(TEXT)._replace(answer=CachedResult(b"{}", None), stored_input=stored)
        for stored in (b'{"d":1}', b"")
    )
    publisher = Publisher(Shard(redis, keys), "gw", LIMITS)
    await publisher.publish("echo", "2.0.0", [Group([kept]), Group([as_it_is])])
    results = [decode_result(fields) for _, fields in await redis.xrange(keys.results)]
    assert [(each.input, each.options, each.input_bytes) for each in results] == [
        (b'{"d":1}', b"{}", INPUT_BYTES),
        (as_it_is.input, b"{}", 0),
    ]


@pytest.mark.parametrize("kept", [("digest", {})], ids=["digest"], indirect=False)
async def test_a_gateway_without_a_secret_does_not_start(start_gateway: StartGateway) -> None:
    with pytest.raises(ConfigurationError, match="set INPUT_DIGEST_SECRET_FILE"):
        await start_gateway()
