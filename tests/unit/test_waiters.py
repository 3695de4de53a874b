"""What a gateway remembers of those who wait: no more than there are, and nothing once they have left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock, Mock, call

import pytest
from prometheus_client import REGISTRY

from gateway.core import waiting
from gateway.core.errors import LimitReached, Refused, UnknownPrediction
from gateway.core.expectation import Expectation
from gateway.core.finished import Finished
from gateway.core.lookup import Lookup
from gateway.core.principal import Principal, Scope
from gateway.core.retry_after import IN_FLIGHT_S, STOPPING_S
from gateway.core.waiting import Waiters
from shared.contract.errors import StoreUnavailable
from shared.contract.hints import Hint
from shared.contract.limits import CallerLimits
from shared.contract.messages import Outcome, Status
from shared.service.liveness import Liveness
from shared.streams.prediction_state import PredictionStates, Queued
from tests.waiting import eventually

ID = "01a20d70-d5e6-7383-90ab-972da9b28bd4"


@pytest.fixture
def lookup() -> Mock:
    return Mock(Lookup, finished=AsyncMock(return_value=[]), look=AsyncMock(return_value={}))


@pytest.fixture
def waiters(lookup: Mock) -> Waiters:
    return Waiters(Mock(PredictionStates), lookup, Liveness(30), max_in_flight=4, max_of_version=3)


async def test_nothing_is_remembered_of_who_has_left(waiters: Waiters, lookup: Mock) -> None:
    with waiters.expect(["a", "b"], "m:1"), waiters.expect(["b"], "m:1"):
        assert waiters.count == 3
        with pytest.raises(Refused):
            waiters.check_room(1, "m:1")
        await waiters.recheck()
        assert sorted(lookup.look.call_args.args[0]) == ["a", "b"]
    lookup.look.reset_mock()
    await waiters.recheck()
    lookup.look.assert_not_called()
    assert waiters.count == 0
    waiters.check_room(3, "m:1")


async def test_of_two_who_wait_for_the_same_one_may_leave(waiters: Waiters, lookup: Mock) -> None:
    stays = waiters.expect(["a"])
    with stays:
        with waiters.expect(["a"]):
            pass
        await waiters.recheck()
        assert lookup.look.call_args.args[0] == ["a"] and waiters.count == 1


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


def told(refused: pytest.ExceptionInfo[Refused]) -> tuple[str, str, int]:
    """Why, in words, and when to try again."""
    return refused.value.reason, str(refused.value), refused.value.retry_after_s


async def test_who_is_refused_is_told_which_limit_and_when_to_try_again(waiters: Waiters) -> None:
    with pytest.raises(Refused) as refused:
        waiters.check_room(5)
    words = "this gateway is already waiting for too many predictions (its limit is 4)"
    assert told(refused) == ("overloaded", words, IN_FLIGHT_S)
    with pytest.raises(Refused) as refused:
        waiters.check_room(4, "m:1")
    words = "this gateway is already waiting for too many predictions of m:1 (its limit for one version is 3)"
    assert told(refused) == ("overloaded", f"{words}; ask with wait=0", IN_FLIGHT_S)


async def test_a_caller_waits_for_so_many_at_a_time(lookup: Mock) -> None:
    waiters = Waiters(Mock(PredictionStates), lookup, Liveness(30), 100)
    two, me = CallerLimits(waits=2), Principal("p_me", frozenset(Scope))
    lookup.locate = AsyncMock(return_value=answer(ID))
    with waiters.expect(["a"], caller="p_me"):
        waiters.check_room(1, "m:1", "p_me", two)
        assert await waiters.read(ID, 60, me, two) == answer(ID)
        with waiters.expect(["b"], caller="p_me"):
            waiters.check_room(0, "m:1", "p_me", two)  # who does not wait
            waiters.check_room(2, "m:1", "p_other", two)
            waiters.check_room(9, "m:1", "p_me", CallerLimits())
            waiters.check_room(9, "m:1", "p_me")
            with pytest.raises(
                LimitReached, match="you may wait for 2 predictions at a time, and do for 2; ask"
            ) as told:
                waiters.check_room(1, "m:1", "p_me", two)
            assert (told.value.limit, told.value.counts) == ("waits", {"waits": (2, 2)})
            assert (told.value.retry_after_s, told.value.rates) == (IN_FLIGHT_S, {})
            with pytest.raises(LimitReached):
                await waiters.read(ID, 60, me, two)
            assert await waiters.read(ID, 0, me, two) == answer(ID)
        waiters.check_room(1, "m:1", "p_me", two)
        lookup.locate = AsyncMock(return_value=QUEUED)
        reading = asyncio.create_task(waiters.read(ID, 60, me, two))  # which counts too
        await eventually(lambda: waiters.count == 2, "it waits")
        with pytest.raises(LimitReached):
            waiters.check_room(1, "m:1", "p_me", two)
        waiters.give_up()
        await asyncio.wait_for(reading, 20)
    assert not waiters._of_caller  # there may be any number of callers


async def test_where_nobody_says_who_asks_all_are_one_caller(waiters: Waiters) -> None:
    with waiters.expect(["a"]), pytest.raises(LimitReached):
        waiters.check_room(1, limits=CallerLimits(waits=1))


async def test_a_gateway_that_stops_begins_no_wait(waiters: Waiters) -> None:
    waiters.closing = True
    with pytest.raises(Refused) as refused:
        waiters.check_room(1)
    assert told(refused) == ("stopping", "this gateway is stopping; try again", STOPPING_S)


QUEUED = Queued(0, "m:1")


async def test_a_prediction_is_read_without_a_wait_though_nobody_may_wait(waiters: Waiters, lookup: Mock) -> None:
    lookup.locate = AsyncMock(return_value=QUEUED)
    with waiters.expect(["a", "b", "c", "d"]):
        assert await waiters.read(ID, 0) == QUEUED
        with pytest.raises(Refused):
            await waiters.read(ID, 1)
    waiters.closing = True
    assert await waiters.read(ID, 30) == QUEUED
    assert lookup.locate.mock_calls == [call(ID, wait=False)] * 2


async def test_a_prediction_that_is_waited_for_is_looked_up_again_at_its_end(waiters: Waiters, lookup: Mock) -> None:
    end = answer(ID)
    lookup.locate = AsyncMock(side_effect=[QUEUED, end])
    with waiters.expect(["a", "b", "c"]):  # it is the last for which there is room
        reading = asyncio.create_task(waiters.read(ID, 60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not reading.done() and waiters.count == 4
        waiters.give_up()
        assert await asyncio.wait_for(reading, 20) == end
        assert waiters.count == 3
    assert lookup.locate.mock_calls == [call(ID, wait=True), call(ID, wait=False)]


async def test_a_prediction_that_has_finished_is_not_waited_for(waiters: Waiters, lookup: Mock) -> None:
    lookup.locate = AsyncMock(return_value=answer(ID))
    assert await asyncio.wait_for(waiters.read(ID, 1), 20) == answer(ID)
    lookup.locate.assert_called_once_with(ID, wait=True)


async def test_who_may_not_know_a_prediction_is_told_that_there_is_none(waiters: Waiters, lookup: Mock) -> None:
    reader = Principal("p_me", frozenset({Scope.READ}))
    everybodys = Principal("p_me", frozenset({Scope.READ_ALL}), models=("m",))
    owned, other = Queued(0, "m:1", "p_me"), Queued(0, "m:1", "p_other")
    for caller, found, wait_s in ((reader, other, 0), (reader, other, 60), (everybodys, Queued(0, "n:1", "p_me"), 0)):
        lookup.locate = AsyncMock(return_value=found)
        with pytest.raises(UnknownPrediction, match=ID):
            await asyncio.wait_for(waiters.read(ID, wait_s, caller), 20)
    for caller, found in ((reader, owned), (everybodys, other)):
        lookup.locate = AsyncMock(return_value=found)
        assert await waiters.read(ID, 0, caller) == found
    lookup.locate = AsyncMock(side_effect=[owned, other])  # it is asked again at the end
    with pytest.raises(UnknownPrediction):
        await asyncio.wait_for(waiters.read(ID, 0.01, reader), 20)


async def test_what_is_no_id_or_is_unknown_is_said(waiters: Waiters, lookup: Mock) -> None:
    lookup.locate = AsyncMock(return_value=None)
    with pytest.raises(UnknownPrediction, match="'nonsense'"):
        await waiters.read("nonsense", 0)
    lookup.locate.assert_not_called()
    with pytest.raises(UnknownPrediction, match=ID):
        await waiters.read(ID, 0)


async def results(expected: Expectation, wait_s: float = 60) -> list[Finished | None]:
    """What a wait brings; it has an end."""
    return await asyncio.wait_for(expected.results(wait_s), 10)


OUTCOME = Outcome(Status.SUCCEEDED, b"{}")


def answer(prediction_id: str) -> Finished:
    return Finished(prediction_id, "m", "1", OUTCOME)


def hint(prediction_id: str, model: str = "m", outcome: Outcome | None = OUTCOME) -> Hint:
    return Hint(prediction_id, 0, model, "1", outcome)


async def test_what_finishes_wakes_each_who_waits_for_it_in_the_order_of_the_asking(
    waiters: Waiters, lookup: Mock
) -> None:
    with waiters.expect(["a", "b"]) as both, waiters.expect(["b"]) as one:
        lookup.look.return_value = {"a": Queued(0), "b": answer("b"), "of nobody": answer("of nobody")}
        await waiters.recheck()
        assert await results(one) == [answer("b")]
        both.give_up()
        assert await results(both) == [None, answer("b")]
        both.wake("b", None)  # what is known is not forgotten
        assert await results(both) == [None, answer("b")]


async def test_nobody_waits_on_for_what_is_gone_but_who_is_about_to_publish_it_does(
    waiters: Waiters, lookup: Mock
) -> None:
    with waiters.expect(["a", "b"]) as accepted, waiters.expect(["a"]) as begins, waiters.expect(["c"]) as other:
        waits = [asyncio.create_task(each.results(60)) for each in (accepted, other)]
        await asyncio.sleep(0)

        async def publish_meanwhile(*_: object) -> dict[str, None]:
            waits.append(asyncio.create_task(begins.results(60)))
            await asyncio.sleep(0)
            return {"a": None, "b": None}

        lookup.look.side_effect = publish_meanwhile
        await waiters.recheck()
        assert await waits[0] == [None, None]
        assert not waits[1].done() and not waits[2].done(), "Postgres did not answer; it was published after the look"
        await waiters.recheck()
        waiters.give_up()
        await asyncio.gather(*waits)


async def test_a_thousand_are_looked_up_at_a_time_and_all_of_them_when_hints_come_again(lookup: Mock) -> None:
    states = Mock(PredictionStates)
    waiters = Waiters(states, lookup, Liveness(30), 10_000)
    before = errors("hint_missed")
    ids = [str(number) for number in range(2001)]
    with waiters.expect(ids):
        lookup.look.side_effect = lambda ids, *_: {each: answer(each) for each in ids if each in ("7", "8", "2000")}
        for _ in range(3):
            await waiters.recheck()
        looks = [each.args[0] for each in lookup.look.call_args_list]
        assert looks == [ids[:1000], ids[1000:2000], ids[2000:] + ids[:999]]  # who was looked at long ago is next
        assert errors("hint_missed") == before + 5
        lookup.look.reset_mock()
        states.hints = hints = Hints(waiters, [None])
        await waiters.listen(hints.stop)
        assert [len(each.args[0]) for each in lookup.look.call_args_list] == [1000, 1000, 1]


def errors(kind: str) -> float:
    """How many errors of the gateway are counted."""
    return REGISTRY.get_sample_value("millstream_errors_total", {"component": "gateway", "kind": kind}) or 0


class Hints:
    """Hints as they are scripted: lists of them, None, errors; at the end the stop is set."""

    def __init__(self, waiters: Waiters, script: list[list[Hint] | None | StoreUnavailable]) -> None:
        self.stop = asyncio.Event()
        self.listening: list[bool] = []
        self._waiters, self._script = waiters, script

    async def __call__(self) -> AsyncIterator[list[Hint] | None]:
        while self._script:
            self.listening.append(self._waiters.listening.is_set())
            step = self._script.pop(0)
            if isinstance(step, StoreUnavailable):
                raise step
            yield step
        self.listening.append(self._waiters.listening.is_set())
        self.stop.set()
        yield None


async def test_hints_are_taken_until_the_stop_and_through_outages(
    lookup: Mock, caplog: pytest.LogCaptureFixture
) -> None:
    states = Mock(PredictionStates)
    liveness = Mock(Liveness)
    waiters = Waiters(states, lookup, liveness, 100)
    lost = StoreUnavailable("redis", "it was", "unreachable")
    states.hints = hints = Hints(waiters, [None, [hint("a"), hint("nobody's")], lost, None, [hint("b")], None])
    before = errors("redis_unreachable")
    assert waiters.lost == "it has not been reached yet"
    with waiters.expect(["a"], "m:1") as first, waiters.expect(["b"]) as second:
        async with asyncio.timeout(20):
            await waiters.listen(hints.stop)
            assert await results(first) == [answer("a")] and await results(second) == [answer("b")]
    assert hints.listening == [False, True, True, False, True, True, True]
    assert lookup.look.call_count == 2  # once for each connection: hints may have been lost before
    assert waiters.lost == str(lost) and errors("redis_unreachable") == before + 1
    assert {each.args for each in liveness.moved.call_args_list} == {("hints",)}
    (said,) = [vars(record) for record in caplog.records]
    assert (said["message"], said["name"], said["reason"]) == ("hints lost", waiting.__name__, "unreachable")


async def test_a_hint_of_the_version_that_is_known_wakes_also_who_does_not_know_it(lookup: Mock) -> None:
    states = Mock(PredictionStates)
    waiters = Waiters(states, lookup, Liveness(30), 100)
    states.hints = hints = Hints(waiters, [None, [hint("a")]])
    with waiters.expect(["a"], "m:1") as one, waiters.expect(["a"]) as two:
        await waiters.listen(hints.stop)
        assert await results(one) == await results(two) == [answer("a")]


async def test_a_hint_of_another_version_is_counted_and_not_believed(lookup: Mock) -> None:
    states = Mock(PredictionStates)
    waiters = Waiters(states, lookup, Liveness(30), 100)
    states.hints = hints = Hints(waiters, [None, [hint("a", "other"), hint("b", outcome=None)]])
    lookup.finished.side_effect = lambda ids: [answer(each) for each in ids if ids == ["b"]]
    before = errors("strange_hint")
    with waiters.expect(["a", "b"], "m:1") as expected:
        await waiters.listen(hints.stop)
        expected.give_up()
        assert await results(expected) == [None, answer("b")]  # whose outcome was too long for a hint
    assert errors("strange_hint") == before + 1


async def test_who_stops_waits_for_nobody(waiters: Waiters) -> None:
    with waiters.expect(["a"]) as one, waiters.expect(["a", "b"]) as two:
        waiters.give_up()
        assert await results(one) == [None] and await results(two) == [None, None]


async def test_a_wait_ends_at_its_time(waiters: Waiters) -> None:
    with waiters.expect(["a", "b"]) as expected:
        assert await results(expected, 0.01) == [None, None]
