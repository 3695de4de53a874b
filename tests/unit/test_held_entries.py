"""How a worker holds entries: renewed in time, kept through an outage until they have left, and counted as they do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from unittest.mock import Mock, call

import pytest
from prometheus_client import REGISTRY

from inference_worker import held_entries
from inference_worker.held_entries import HeldEntries
from inference_worker.tracing import BatchTiming, LaneSpans
from shared.contract.catalogue import ServedVersion, Version
from shared.contract.errors import StoreUnavailable
from shared.contract.messages import Outcome, PredictionRequest, Status
from shared.service import backoff
from shared.service.liveness import Liveness
from shared.streams.request_stream import Completed, Delivery
from shared.streams.version_streams import VersionStreams
from tests.waiting import eventually

MODEL, VERSION = "held", "1"
SERVED = ServedVersion(model=MODEL, task="tests:Task", version=Version(version=VERSION, artifact="none"))
TIMEOUT_MS = 60_000
ID = "01a20d70-d5e6-7383-90ab-972da9b28bd4"
DELIVERY = Delivery("1-0", {b"id": ID.encode()}, 2)
OTHER = Delivery("2-0", {}, 1)
REQUEST = PredictionRequest(ID, MODEL, VERSION, "text", {})
AWAY = StoreUnavailable("redis", "it is being tested", "read_only")
TIMING = BatchTiming(1, 2, 3)


def completed(delivery: Delivery = DELIVERY) -> Completed:
    return Completed(delivery, REQUEST, Outcome(Status.SUCCEEDED, b"{}", 0.5, worker="w"))


def value(name: str, **labels: str) -> float:
    """A metric's value."""
    return REGISTRY.get_sample_value(f"millstream_{name}", labels) or 0


def errors(kind: str) -> float:
    """How many errors of a kind the worker has counted."""
    return value("errors_total", component="inference_worker", kind=kind)


@pytest.fixture
def stream() -> Mock:
    """A request stream that does what it is asked for."""
    return Mock(
        VersionStreams,
        **{
            "complete.return_value": [True],
            "dead_letter.return_value": True,
            "lost.return_value": set(),
        },
    )


@pytest.fixture
def liveness() -> Mock:
    return Mock(Liveness)


@pytest.fixture
def spans() -> Mock:
    return Mock(LaneSpans)


@pytest.fixture
def held(stream: Mock, liveness: Mock, spans: Mock) -> HeldEntries:
    return HeldEntries(stream, SERVED, liveness, TIMEOUT_MS, spans)


@pytest.fixture
def stop() -> asyncio.Event:
    return asyncio.Event()


def test_a_lane_is_starting_until_its_stream_answers(held: HeldEntries) -> None:
    assert held.unavailable == "starting"
    held.note_available()
    assert held.unavailable is None


class Clock:
    """The time as `keep_claimed` sees it: it passes while that waits, and only then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ends_s: float, at_end: Callable[[], None]) -> None:
        self.now, self._ends_s, self._at_end = 0.0, ends_s, at_end
        self.waits: list[float] = []
        monkeypatch.setattr(held_entries, "time", Mock(monotonic=lambda: self.now))
        monkeypatch.setattr(held_entries, "wait_for_stop", self.wait)

    async def wait(self, stop: asyncio.Event, timeout_s: float) -> bool:
        assert self.now < self._ends_s, "it goes on after the end"
        self.waits.append(timeout_s)
        self.now += timeout_s
        if self.now >= self._ends_s:
            self._at_end()
        return stop.is_set()


@pytest.mark.parametrize(
    ("timeout_ms", "ends_s", "renewed_s"), [(60_000, 50.0, [1, 21, 41]), (1500, 2.0, [0.5, 1, 1.5])]
)
async def test_what_is_in_hand_is_renewed_every_third_of_the_visibility_timeout(
    *,
    stream: Mock,
    liveness: Mock,
    stop: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
    timeout_ms: int,
    ends_s: float,
    renewed_s: list[float],
) -> None:
    held = HeldEntries(stream, SERVED, liveness, timeout_ms)
    held.hold([OTHER, DELIVERY])

    def end() -> None:
        held.entries.clear()
        stop.set()

    clock = Clock(monkeypatch, ends_s, end)
    renewed: list[float] = []
    stream.renew.side_effect = lambda entries: renewed.append(clock.now)
    await held.keep_claimed(stop)
    assert renewed == pytest.approx(renewed_s)
    assert set(map(str, stream.renew.mock_calls)) == {str(call(["1-0", "2-0"]))}
    assert max(clock.waits) <= 1.0  # it reports at least each second
    assert set(map(str, liveness.moved.mock_calls)) == {str(call(f"claims {MODEL}:{VERSION}"))}


async def test_a_lane_with_nothing_in_hand_renews_nothing_and_goes_on(
    held: HeldEntries, stream: Mock, stop: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, 5.0, stop.set)
    await held.keep_claimed(stop)
    assert clock.now == 5.0
    stream.renew.assert_not_called()


async def test_claims_are_kept_after_a_stop_until_nothing_is_in_hand(
    held: HeldEntries, stream: Mock, stop: asyncio.Event
) -> None:
    held.hold([DELIVERY])
    stop.set()
    keeping = asyncio.create_task(held.keep_claimed(stop))
    await eventually(lambda: stream.renew.called, "what is in hand is renewed")
    assert not keeping.done()
    held.entries.clear()
    await asyncio.wait_for(keeping, 20)


async def test_what_has_been_in_hand_for_a_second_is_asked_about_and_what_is_lost_let_go(
    held: HeldEntries, stream: Mock, stop: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.hold([DELIVERY, OTHER])
    held.on_lost = Mock(return_value={"1-0"})

    def end() -> None:
        held.entries.clear()
        stop.set()

    clock = Clock(monkeypatch, 3.5, end)
    asked: list[tuple[float, list[str]]] = []

    def lost(entries: list[str]) -> set[str]:
        asked.append((clock.now, entries))
        return {"1-0", "2-0", "another"} if clock.now < 3 else set()

    stream.lost.side_effect = lost
    await held.keep_claimed(stop)
    assert asked[:2] == [(2.0, ["1-0", "2-0"]), (3.0, ["2-0"])]  # nothing at 1: it had only just come
    held.on_lost.assert_called_once_with({"1-0", "2-0"})


async def test_what_is_asked_about_is_kept_if_redis_does_not_answer(
    held: HeldEntries, stream: Mock, stop: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.hold([DELIVERY])
    seen: list[set[str]] = []

    def end() -> None:
        seen.append(set(held.entries))
        held.entries.clear()
        stop.set()

    Clock(monkeypatch, 3.0, end)
    stream.lost.side_effect = AWAY
    await held.keep_claimed(stop)
    assert stream.lost.called and seen == [{"1-0"}]


async def test_a_renewal_that_fails_is_counted_and_keeps_what_is_in_hand(held: HeldEntries, stream: Mock) -> None:
    held.hold([DELIVERY])
    stream.renew.side_effect = AWAY
    before = errors("renewal")
    await held.renew()
    assert errors("renewal") == before + 1 and held.entries == {DELIVERY.entry}


Way = Callable[[HeldEntries, asyncio.Event], Awaitable[object]]
WAYS: dict[str, Way] = {
    "complete": lambda held, stop: held.finish([completed()], stop),
    "dead_letter": lambda held, stop: held.dead_letter(DELIVERY, "bad_json", "no JSON", stop),
    "count_delivery": lambda held, stop: held.count_delivery(DELIVERY, stop),
}


@pytest.mark.parametrize("call_name", WAYS)
async def test_what_cannot_leave_is_tried_again_until_it_can(
    held: HeldEntries, stream: Mock, liveness: Mock, stop: asyncio.Event, call_name: str
) -> None:
    held.hold([DELIVERY])
    held.note_available()
    called = getattr(stream, call_name)
    answer, seen, before = called.return_value, [], errors("redis_read_only")

    async def fails_twice(*_: object) -> object:
        seen.append(held.unavailable)
        assert DELIVERY.entry in held.entries
        if len(seen) < 3:
            raise AWAY
        return answer

    called.side_effect = fails_twice
    liveness.reset_mock()
    await WAYS[call_name](held, stop)
    assert seen == [None, str(AWAY), str(AWAY)] and held.unavailable is None
    assert errors("redis_read_only") == before + 2
    assert liveness.moved.mock_calls == [call(f"lane {MODEL}:{VERSION}")] * 3


async def test_pauses_grow_while_the_stream_is_unavailable_and_begin_anew_afterwards(
    held: HeldEntries, stream: Mock, stop: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def note(_: asyncio.Event, timeout_s: float) -> bool:
        pauses.append(timeout_s)
        return False

    monkeypatch.setattr(backoff, "wait_for_stop", note)
    for _ in range(2):
        stream.complete.side_effect = [AWAY, AWAY, AWAY, AWAY, [True]]
        await held.finish([completed()], stop)
    assert pauses[0] < pauses[2] < pauses[3] > pauses[4] < pauses[6] < pauses[7]


async def test_what_has_left_is_counted_and_noted_in_the_trace(
    held: HeldEntries, spans: Mock, stop: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ended = [completed()]
    assert await held.finish(ended, stop, TIMING) == [True]
    await held.dead_letter(DELIVERY, "bad_json", "no JSON", stop)
    assert spans.mock_calls == [call.finished(ended, [True], TIMING), call.dead_lettered(DELIVERY, "bad_json")]
    (said,) = [vars(record) for record in caplog.records if record.message == "request dead-lettered"]
    assert (said["name"], said["lane"]) == (held_entries.__name__, f"{MODEL}:{VERSION}")
    assert (said["entry"], said["prediction_id"]) == (DELIVERY.entry, ID)


async def test_each_that_leaves_is_counted_once_by_how_it_ended(
    held: HeldEntries, stream: Mock, stop: asyncio.Event
) -> None:
    letters = {"stream": f"requests/{MODEL}/{VERSION}", "reason": "bad_json"}

    def counts() -> list[float]:
        labels = {"model": MODEL, "version": VERSION}
        return [
            *(value("predictions_total", **labels, status=status) for status in ("succeeded", "failed", "expired")),
            value("prediction_confidence_sum", **labels),
            value("dead_letters_total", **letters),
        ]

    def grown() -> list[float]:
        return [now - then for now, then in zip(counts(), before, strict=True)]

    before = counts()
    expired = completed(OTHER)._replace(outcome=Outcome(Status.EXPIRED))
    held.hold([DELIVERY, OTHER])
    stream.complete.return_value = [True, True, False]
    assert await held.finish([completed(), expired, completed()], stop) == [True, True, False]
    stream.complete.assert_called_once_with([completed(), expired, completed()])
    assert grown() == [1, 0, 1, 0.5, 0] and held.entries == set()
    held.hold([DELIVERY, OTHER])
    await held.dead_letter(DELIVERY, "bad_json", "no JSON", stop)
    stream.dead_letter.assert_called_once_with(DELIVERY, "bad_json", "no JSON")
    assert grown() == [1, 1, 1, 0.5, 1] and held.entries == {OTHER.entry}
    await held.dead_letter(OTHER, "bad_json", "no JSON", stop)  # whose id cannot be read
    assert grown() == [1, 1, 1, 0.5, 2]
    stream.dead_letter.return_value = False
    await held.dead_letter(DELIVERY, "bad_json", "no JSON", stop)  # another was first
    assert grown() == [1, 1, 1, 0.5, 2]


async def test_what_cannot_leave_while_stopping_is_tried_again_after_a_pause(
    held: HeldEntries, stream: Mock, stop: asyncio.Event
) -> None:
    stop.set()
    stream.complete.side_effect = [AWAY, [True]]
    assert await asyncio.wait_for(held.finish([completed()], stop), 20) == [True]


async def test_nothing_is_said_where_nothing_has_ended(held: HeldEntries, stream: Mock, stop: asyncio.Event) -> None:
    assert await held.finish([], stop) == ()
    stream.complete.assert_not_called()


async def test_an_answer_that_leaves_an_entry_out_is_a_fault(
    held: HeldEntries, stream: Mock, stop: asyncio.Event
) -> None:
    with pytest.raises(ValueError, match="shorter"):
        await held.finish([completed(), completed(OTHER)], stop)


async def test_an_entry_that_is_anothers_by_now_is_let_go(held: HeldEntries, stream: Mock, stop: asyncio.Event) -> None:
    held.hold([DELIVERY, OTHER])
    stream.count_delivery.return_value = 3
    assert await held.count_delivery(DELIVERY, stop) == DELIVERY._replace(deliveries=3)
    stream.count_delivery.return_value = 0
    assert await held.count_delivery(DELIVERY, stop) is None
    assert stream.count_delivery.mock_calls == [call(DELIVERY.entry)] * 2
    assert held.entries == {OTHER.entry}


@pytest.mark.parametrize("away", [False, True])
async def test_what_was_not_begun_is_given_back_or_left_to_the_visibility_timeout(
    held: HeldEntries, stream: Mock, away: bool
) -> None:
    held.hold([DELIVERY, OTHER])
    stream.release.side_effect = AWAY if away else None
    await held.give_back([OTHER])
    stream.release.assert_called_once_with([OTHER.entry], TIMEOUT_MS)
    assert held.entries == {DELIVERY.entry}
