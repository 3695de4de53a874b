"""What a gateway remembers of those who wait: no more than there are, and nothing once they have left."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import pytest

from gateway.core.errors import Refused
from gateway.core.lookup import Lookup
from gateway.core.waiting import Waiters
from shared.service.liveness import Liveness
from shared.streams.prediction_state import PredictionStates


@pytest.fixture
def lookup() -> Mock:
    return Mock(Lookup, finished=AsyncMock(return_value=[]))


@pytest.fixture
def waiters(lookup: Mock) -> Waiters:
    return Waiters(Mock(PredictionStates), lookup, Liveness(30), max_in_flight=4, max_of_version=3)


async def test_nothing_is_remembered_of_who_has_left(waiters: Waiters, lookup: Mock) -> None:
    with waiters.expect(["a", "b"], "m:1"), waiters.expect(["b"], "m:1"):
        assert waiters.count == 3
        await waiters.recheck()
        assert sorted(lookup.finished.call_args.args[0]) == ["a", "b"]
    lookup.finished.reset_mock()
    await waiters.recheck()
    lookup.finished.assert_not_called()
    assert waiters.count == 0
    waiters.check_room(3, "m:1")


async def test_of_two_who_wait_for_the_same_one_may_leave(waiters: Waiters, lookup: Mock) -> None:
    stays = waiters.expect(["a"])
    with stays:
        with waiters.expect(["a"]):
            pass
        await waiters.recheck()
        assert lookup.finished.call_args.args[0] == ["a"] and waiters.count == 1


@pytest.mark.parametrize(("count", "label", "limit"), [(4, "m:1", "in_flight_of_version"), (5, "m:1", "in_flight")])
async def test_room_is_for_so_many_and_for_so_many_of_a_version(
    waiters: Waiters, count: int, label: str, limit: str
) -> None:
    waiters.check_room(3, label)
    waiters.check_room(4)
    with pytest.raises(Refused) as refused:
        waiters.check_room(count, label)
    assert refused.value.limit == limit
    with waiters.expect(["a", "b"], "m:1"):
        waiters.check_room(1, "m:1")
        waiters.check_room(2, "other:1")
        with pytest.raises(Refused):
            waiters.check_room(2, "m:1")
        with pytest.raises(Refused):
            waiters.check_room(3, "other:1")


async def test_a_gateway_that_stops_begins_no_wait(waiters: Waiters) -> None:
    waiters.closing = True
    with pytest.raises(Refused) as refused:
        waiters.check_room(1)
    assert refused.value.reason == "stopping"
