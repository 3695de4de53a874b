"""What a worker holds, and how it lets go of it: counted once, said without a word of the texts, claimable at once."""

from __future__ import annotations

import asyncio
import logging

import pytest
from prometheus_client import REGISTRY

from inference_worker.held_entries import HeldEntries
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status, decode_request
from shared.service.liveness import Liveness
from shared.streams.request_stream import Completed, Delivery
from shared.streams.version_streams import Counts
from tests.streams import MODEL, VERSION, Redis, finished, publish, streams

pytestmark = pytest.mark.every_server

TIMEOUT_MS = 60_000
SECRET = "what only the caller may know"


def counted(name: str, **labels: str) -> float:
    """A counter's value, of the version that is served here unless labels name something else."""
    return REGISTRY.get_sample_value(name, labels or {"model": MODEL, "version": VERSION}) or 0.0


def counts() -> list[float]:
    """What is counted of outcomes: by status, confidences, dead letters."""
    labels = {"model": MODEL, "version": VERSION}
    return [
        *(counted("millstream_predictions_total", **labels, status=status) for status in ("succeeded", "failed")),
        counted("millstream_prediction_confidence_count"),
        counted("millstream_dead_letters_total", stream=f"requests/{MODEL}/{VERSION}", reason="max_deliveries"),
    ]


async def held_by_two(redis: Redis, keys: Keys, catalogue: Catalogue) -> tuple[Delivery, HeldEntries, HeldEntries]:
    """An entry that a worker has taken over from another, which does not know it yet."""
    served = catalogue.resolve(MODEL, VERSION)
    assert served is not None
    await publish(redis, keys, SECRET)
    slow, quick = streams(redis, keys, "slow"), streams(redis, keys, "quick")
    await slow.join()
    (delivery,) = (await slow.read(Counts(1, 0), 10)).deliveries
    (taken,) = (await quick.claim(0, 1)).deliveries
    first, second = (HeldEntries(each, served, Liveness(30), TIMEOUT_MS) for each in (quick, slow))
    first.hold([taken])
    second.hold([delivery])
    return delivery, first, second


async def test_an_outcome_that_comes_second_is_not_counted(redis: Redis, keys: Keys, catalogue: Catalogue) -> None:
    delivery, first, second = await held_by_two(redis, keys, catalogue)
    stop, before = asyncio.Event(), counts()
    assert list(await first.finish([finished(delivery)], stop)) == [True]
    assert counts() == [before[0] + 1, before[1], before[2] + 1, before[3]]
    assert list(await second.finish([finished(delivery)], stop)) == [False]
    await second.dead_letter(delivery, "max_deliveries", "too late", stop)
    assert counts() == [before[0] + 1, before[1], before[2] + 1, before[3]]
    assert first.entries == second.entries == set()


async def test_of_two_that_give_up_one_is_counted(
    redis: Redis, keys: Keys, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    delivery, first, second = await held_by_two(redis, keys, catalogue)
    before = counts()
    for each in (first, second):
        await each.dead_letter(delivery, "max_deliveries", "3 deliveries", asyncio.Event())
    assert counts() == [before[0], before[1] + 1, before[2], before[3] + 1]
    assert [record.message for record in caplog.records].count("request dead-lettered") == 1


async def test_the_log_names_ids_and_kinds_and_quotes_no_text(
    redis: Redis, keys: Keys, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    delivery, first, _ = await held_by_two(redis, keys, catalogue)
    request = decode_request(delivery.fields)
    failed = Outcome(Status.FAILED, error=f"ValueError: cannot read {SECRET}", worker="quick")
    await first.finish([Completed(delivery, request, failed)], asyncio.Event())
    other, giving_up, _ = await held_by_two(redis, keys, catalogue)
    await giving_up.dead_letter(other, "max_deliveries", "given up after 3 deliveries", asyncio.Event())
    said = {record.message: vars(record) for record in caplog.records}
    assert said["finished"]["prediction_id"] == request.id and said["finished"]["error"] == "ValueError"
    about = said["request dead-lettered"]
    assert about["prediction_id"] == decode_request(other.fields).id and about["entry"] == other.entry
    assert (about["reason"], about["detail"]) == ("max_deliveries", "given up after 3 deliveries")
    assert SECRET not in repr(said)


@pytest.mark.parametrize("renewal_first", [True, False])
async def test_a_renewal_hides_nothing_that_was_given_back(
    redis: Redis, keys: Keys, catalogue: Catalogue, renewal_first: bool
) -> None:
    served = catalogue.resolve("echo", "1.0.0")
    assert served is not None
    await publish(redis, keys, *"abc")
    stopping, next_one = streams(redis, keys, "stopping"), streams(redis, keys, "next")
    await stopping.join()
    deliveries = (await stopping.read(Counts(3, 0), 10)).deliveries
    held = HeldEntries(stopping, served, Liveness(30), TIMEOUT_MS)
    held.hold(deliveries)
    await stopping.renew([each.entry for each in deliveries])  # loads its script: from here on it is one command
    calls = [held.renew(), held.give_back(deliveries)]
    await asyncio.gather(*(calls if renewal_first else reversed(calls)))
    assert len((await next_one.claim(TIMEOUT_MS, 10)).deliveries) == 3
