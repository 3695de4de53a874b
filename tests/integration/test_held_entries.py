"""What a worker gives back is claimable at once, whatever its renewals do meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from inference_worker.held_entries import HeldEntries
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from shared.service.liveness import Liveness
from tests.streams import Redis, publish, stream

TIMEOUT_MS = 60_000


@pytest.mark.parametrize("renewal_first", [True, False])
async def test_a_renewal_hides_nothing_that_was_given_back(
    redis: Redis, keys: Keys, catalogue: Catalogue, renewal_first: bool
) -> None:
    served = catalogue.resolve("echo", "1.0.0")
    assert served is not None
    await publish(redis, keys, *"abc")
    stopping, next_one = stream(redis, keys, "stopping"), stream(redis, keys, "next")
    await stopping.join()
    deliveries = (await stopping.read(3, 10)).deliveries
    held = HeldEntries(stopping, served, Liveness(30), TIMEOUT_MS)
    held.hold(deliveries)
    await stopping.renew([each.entry for each in deliveries])  # loads its script: from here on it is one command
    calls = [held.renew(), held.give_back(deliveries)]
    await asyncio.gather(*(calls if renewal_first else reversed(calls)))
    assert len((await next_one.claim(TIMEOUT_MS, 10)).deliveries) == 3
