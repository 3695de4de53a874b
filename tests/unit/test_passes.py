"""How a lane computes what it has read: which passes run at a time, what becomes of each item, and what is measured."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock, call

import pytest
from prometheus_client import REGISTRY

from inference_worker import outcomes, passes
from inference_worker.batching import MOST_ENCODED_CHARS, MOST_WAITING_BYTES
from inference_worker.children.process import ChildLost
from inference_worker.children.wire import MODEL_ERROR, Answer, Failure, Lone, Prepared
from inference_worker.engine import Engine, EngineDown
from inference_worker.held_entries import HeldEntries
from inference_worker.movement import Movement
from inference_worker.passes import Passes
from inference_worker.progress import ProgressReports
from inference_worker.settings import WorkerSettings
from inference_worker.tasks.protocol import Item
from inference_worker.tracing import LaneSpans
from inference_worker.triage import Readable
from shared.contract.catalogue import BatchLimits, ServedVersion, Version
from shared.contract.costs import Cost
from shared.contract.inputs import INVALID_INPUT
from shared.contract.messages import Outcome, PredictionRequest, Status
from shared.contract.progress import Progress
from shared.contract.queues import Priority
from shared.service.liveness import Liveness
from shared.streams.request_stream import Completed, Delivery
from shared.streams.version_streams import VersionStreams
from tests.engines import computed_alone
from tests.waiting import eventually

MODEL, VERSION, WORKER = "passes", "1", "w1"
NOW_MS, QUEUED_MS = 1_733_000_000_700, 700
TOOK_S = 2.5
TOKENS_A_CHARACTER = 2
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
LOST = ChildLost("child_died", "its process was killed")
MOST_DELIVERIES = 3


def readable(text: str, number: int = 1, **changes: Any) -> Readable:
    """A request as a lane has decoded it; `changes` are its fields."""
    fields = {"submitted_at": NOW_MS - QUEUED_MS, "options": {"of": text}, **changes}
    request = PredictionRequest(f"id of {text}", MODEL, VERSION, text, **fields)
    return Delivery(f"{number}-0", {}), request


def readables(*texts: str) -> list[Readable]:
    return [readable(text, number) for number, text in enumerate(texts, 1)]


class Clock:
    """The time as passes see it: it goes on while an engine computes."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class HandEngine(Engine):
    """An engine that is driven by hand: what it answers, and how many passes it lets end.

    Attributes:
        encodes, predicts: what it answers a text instead of encoding or computing it, one after another.
        begun: the texts of each pass, in the order in which they began.
    """

    def __init__(self, clock: Clock, processes: int, labels: Sequence[str]) -> None:
        self.token_budget = 512
        self.processes, self.labels = processes, labels
        self.encodes: dict[str, list[Any]] = {}
        self.predicts: dict[str, list[Any]] = {}
        self.encoded: list[list[Item]] = []
        self.begun: list[list[str]] = []
        self.stopped: list[str] = []
        self.batches: list[Sequence[Prepared]] = []
        self.data_of: Callable[[str], bytes] = str.encode
        self._clock = clock
        self._may_end = asyncio.Semaphore(1000)

    def hold_back(self) -> None:
        """From now on no pass ends, except as many as are let go."""
        self._may_end = asyncio.Semaphore(0)

    def let_go(self, count: int = 1) -> None:
        """So many passes may end."""
        for _ in range(count):
            self._may_end.release()

    async def encode(self, items: Sequence[Item]) -> list[Prepared | Failure | ChildLost]:
        self.encoded.append([*items])
        return [self._answer(self.encodes, item.text, self._prepared(item.text)) for item in items]

    async def predict(self, batch: Sequence[Prepared]) -> list[Answer | Failure | ChildLost]:
        if isinstance(batch[0], Lone):
            return await computed_alone(self, batch[0])
        self.batches.append(batch)
        texts = [each.data.decode().strip() for each in batch]
        self.begun.append(texts)
        self._clock.now += TOOK_S
        await self._may_end.acquire()
        return [self._answer(self.predicts, text, Answer(text.encode(), 0.5, text)) for text in texts]

    def stop(self, item: Prepared) -> None:
        self.stopped.append(json.loads(item.data)[0] if isinstance(item, Lone) else item.data.decode().strip())

    def _prepared(self, text: str) -> Prepared:
        return Prepared(TOKENS_A_CHARACTER * len(text), 1, self.data_of(text))

    @staticmethod
    def _answer(answers: dict[str, list[Any]], text: str, usual: Any) -> Any:
        answer = answers[text].pop(0) if answers.get(text) else usual
        if isinstance(answer, Exception) and not isinstance(answer, ChildLost):
            raise answer
        return answer


class Held:
    """A stand-in for what holds the entries.

    Attributes:
        calls: what it was asked for.
        finished: what was completed.
    """

    def __init__(self) -> None:
        self.calls = Mock(HeldEntries)
        self.finished: list[Completed] = []
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.calls.finish.side_effect = self._finish
        self.calls.count_delivery.side_effect = lambda delivery, _: delivery._replace(
            deliveries=delivery.deliveries + 1
        )

    async def _finish(self, finished: Sequence[Completed], *_: object) -> list[bool]:
        if finished:
            await self.may_finish.wait()
        self.finished += finished
        return [each.request.input != "too late" for each in finished]

    def texts(self) -> list[str]:
        return [each.request.input for each in self.finished]


class Lane:
    """Passes with all that they need."""

    def __init__(
        self,
        max_batch_size: int = 1,
        processes: int = 1,
        labels: Sequence[str] = (),
        spans: Mock | None = None,
        **settings: Any,
    ) -> None:
        version = Version(version=VERSION, artifact="none", batch=BatchLimits(max_batch_size=max_batch_size))
        served = ServedVersion(model=MODEL, task="tests:Task", version=version)
        self.held, self.stop = Held(), asyncio.Event()
        self.engine = HandEngine(clock := Clock(), processes, labels)
        self.streams = Mock(VersionStreams)
        self.reports = ProgressReports(self.streams)
        movement = Movement(Liveness(30), f"lane {served.label}", 30)
        found = WorkerSettings(max_deliveries=MOST_DELIVERIES, **settings)
        self.passes = Passes(found, served, self.held.calls, self.engine, movement, WORKER, spans, self.reports)
        self.clock = clock

    async def add(self, *requests: Readable) -> None:
        await self.passes.add(requests, NOW_MS, self.stop)

    async def compute(self, *requests: Readable) -> None:
        await self.add(*requests)
        await asyncio.wait_for(self.passes.all_ended(), 20)

    async def begun(self, count: int) -> None:
        """Wait until so many passes have begun; no further one begins."""
        await eventually(lambda: len(self.engine.begun) >= count, f"{count} passes begin")
        await turns()
        assert len(self.engine.begun) == count


async def turns() -> None:
    """Let everything go on that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Lane]:
    def make_lane(**changes: Any) -> Lane:
        lane = Lane(**changes)
        monkeypatch.setattr(passes, "time", lane.clock)
        return lane

    return make_lane


Make = Callable[..., Lane]


def value(name: str, **labels: str) -> float:
    """A metric's value, of the version that is served here."""
    found = REGISTRY.get_sample_value(f"millstream_{name}", {"model": MODEL, "version": VERSION, **labels})
    return found or 0.0


async def test_what_is_read_is_encoded_computed_and_completed(make: Make) -> None:
    lane = make(max_batch_size=2)
    requests = readables("a", "b")
    names = ("batch_size_sum", "batch_size_count", "inference_duration_seconds_sum")
    before = [value(name) for name in names]
    await lane.compute(*requests)
    assert lane.engine.encoded == [[Item("a", {"of": "a"}), Item("b", {"of": "b"})]]
    assert lane.engine.begun == [["a", "b"]]
    own: dict[str, Any] = {"worker": WORKER, "tokens": TOKENS_A_CHARACTER, "compute_us": round(TOOK_S / 2 * 1_000_000)}
    outcome = Outcome(Status.SUCCEEDED, b"a", 0.5, round(TOOK_S * 1000), QUEUED_MS, **own)
    expected = [Completed(*requests[0], outcome), Completed(*requests[1], outcome._replace(result=b"b"))]
    assert lane.held.calls.finish.mock_calls[-1] == call(expected, lane.stop, None)
    grown = [value(name) - old for name, old in zip(names, before, strict=True)]
    assert grown == pytest.approx([2, 1, TOOK_S])
    assert lane.passes.costs.cost == Cost(TOOK_S * 1_000_000 / (2 * TOKENS_A_CHARACTER), TOKENS_A_CHARACTER)


async def test_how_long_requests_have_waited_is_counted_by_priority(make: Make) -> None:
    def waited() -> dict[str, float]:
        return {each.value: value("queue_wait_seconds_count", priority=each.value) for each in Priority}

    lane, before = make(max_batch_size=2), waited()
    await lane.compute(readable("a", priority=Priority.BATCH), *readables("b", "c"))
    assert waited() == {"interactive": before["interactive"] + 2, "batch": before["batch"] + 1}


async def test_a_request_from_a_clock_that_is_ahead_has_not_waited(make: Make) -> None:
    lane = make()
    await lane.compute(readable("a", submitted_at=NOW_MS + 5))
    assert lane.held.finished[0].outcome.queue_time_ms == 0


async def test_texts_are_encoded_in_windows_and_computed_in_their_order(make: Make) -> None:
    lane = make()
    texts = [letter * (MOST_ENCODED_CHARS // 2 + 1) for letter in "abc"]
    lane.engine.data_of = lambda text: text[:1].encode()
    await lane.compute(*readables(*texts))
    assert [[item.text[0] for item in items] for items in lane.engine.encoded] == [["a"], ["b"], ["c"]]
    assert lane.engine.begun == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(("exposed", "told"), [(True, "ValueError: bad"), (False, outcomes.HIDDEN_ERROR)])
@pytest.mark.parametrize(
    ("step", "took_ms", "tokens", "compute_us"),
    [("encodes", 0, 0, 0), ("predicts", round(TOOK_S * 1000), 3 * TOKENS_A_CHARACTER, round(TOOK_S * 3 / 5 * 1e6))],
)
async def test_an_item_that_fails_is_completed_with_its_error_and_told_in_the_log(
    *,
    make: Make,
    caplog: pytest.LogCaptureFixture,
    step: str,
    took_ms: int,
    tokens: int,
    compute_us: int,
    exposed: bool,
    told: str,
) -> None:
    lane = make(max_batch_size=3, expose_model_errors=exposed)
    getattr(lane.engine, step)["bad"] = [Failure(MODEL_ERROR, "ValueError: bad")]
    bad = readable("bad", 2, traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")
    await lane.compute(readable("a"), bad, readable("b", 3))
    own: dict[str, Any] = {"tokens": tokens, "compute_us": compute_us}
    failed = Outcome(Status.FAILED, None, None, took_ms, QUEUED_MS, error=told, worker=WORKER, **own)
    assert {each.request.input: each for each in lane.held.finished}["bad"] == Completed(*bad, failed)
    assert sorted(lane.held.texts()) == ["a", "b", "bad"]
    assert {each.args[1] for each in lane.held.calls.finish.mock_calls} == {lane.stop}
    (said,) = [vars(record) for record in caplog.records]
    assert (said["message"], said["name"], said["detail"]) == (
        "model failed",
        passes.__name__,
        "ValueError: [the text]",
    )
    about = {"prediction_id": "id of bad", "lane": f"{MODEL}:{VERSION}", "reason": MODEL_ERROR, "trace_id": TRACE_ID}
    assert about.items() <= said.items()


async def test_an_input_that_is_refused_is_no_failure_of_the_model(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, passes.__name__)
    lane = make()
    lane.engine.encodes["long"] = [Failure(INVALID_INPUT, "the text is too long")]
    await lane.compute(readable("long"))
    assert lane.held.finished[0].outcome.error == "the text is too long"
    assert not caplog.records and lane.engine.begun == []


async def test_an_answer_that_leaves_an_item_out_is_a_fault(make: Make) -> None:
    lane = make(max_batch_size=2)
    answers: list[Any] = [Prepared(1, 1, b"a")]
    lane.engine.encode = Mock(side_effect=lambda _: asyncio.sleep(0, answers))  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="shorter"):
        await lane.add(*readables("a", "b"))
    answers.append(Prepared(1, 1, b"b"))
    one: list[Any] = [Answer(b"", 0.5, "")]
    lane.engine.predict = Mock(side_effect=lambda _: asyncio.sleep(0, one))  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="shorter"):
        await lane.compute(*readables("a", "b"))
    assert lane.held.finished == []


@pytest.mark.parametrize("step", ["encodes", "predicts"])
async def test_an_item_that_ends_its_child_is_tried_again_alone_and_counted_each_time(make: Make, step: str) -> None:
    lane = make(max_batch_size=3)
    getattr(lane.engine, step)["killer"] = [LOST] * (MOST_DELIVERIES - 1)
    killer, *others = readables("killer", "a", "b")
    await lane.compute(killer, *others)
    tried = (
        lane.engine.begun if step == "predicts" else [[each.text for each in items] for items in lane.engine.encoded]
    )
    assert tried[:3] == [["killer", "a", "b"], ["killer"], ["killer"]]
    counted = [killer[0]._replace(deliveries=number) for number in (1, 2)]
    assert lane.held.calls.count_delivery.mock_calls == [call(each, lane.stop) for each in counted]
    assert sorted(lane.held.texts()) == ["a", "b", "killer"]
    assert {each.request.input: each.delivery.deliveries for each in lane.held.finished} == {
        "killer": 3,
        "a": 1,
        "b": 1,
    }
    lane.held.calls.dead_letter.assert_not_called()


@pytest.mark.parametrize("step", ["encodes", "predicts"])
async def test_an_item_that_ends_its_child_too_often_is_given_up(make: Make, step: str) -> None:
    lane = make(max_batch_size=3)
    getattr(lane.engine, step)["killer"] = [LOST] * 9
    killer, *others = readables("killer", "a", "b")
    await lane.compute(killer, *others)
    error = "given up after 3 deliveries: each time the model's process was lost: its process was killed"
    given_up = call(killer[0]._replace(deliveries=3), "child_died", error, lane.stop)
    assert lane.held.calls.dead_letter.mock_calls == [given_up]
    assert sorted(lane.held.texts()) == ["a", "b"]


@pytest.mark.parametrize("step", ["encodes", "predicts"])
async def test_an_item_that_ends_its_child_and_is_anothers_by_now_is_let_go(make: Make, step: str) -> None:
    lane = make()
    getattr(lane.engine, step)["killer"] = [LOST]
    lane.held.calls.count_delivery.side_effect = lambda *_: None
    await lane.compute(readable("killer"))
    assert lane.held.finished == [] and lane.held.calls.dead_letter.mock_calls == []


async def test_an_item_that_ends_its_child_while_stopping_is_given_back(make: Make) -> None:
    lane = make()
    lane.engine.predicts["killer"] = [LOST]
    lane.engine.hold_back()
    killer = readable("killer")
    await lane.add(killer)
    await lane.begun(1)
    lane.stop.set()
    lane.engine.let_go()
    await lane.passes.all_ended()
    lane.held.calls.give_back.assert_called_once_with([killer[0]._replace(deliveries=2)])
    assert lane.engine.begun == [["killer"]]


@pytest.mark.parametrize("step", ["encodes", "predicts"])
async def test_what_an_engine_that_breaks_down_held_is_given_back(make: Make, step: str) -> None:
    lane = make(max_batch_size=2)
    getattr(lane.engine, step)["b"] = [EngineDown("no child can be started")]
    requests = readables("a", "b")
    with pytest.raises(EngineDown, match="no child"):
        await lane.compute(*requests)
    lane.held.calls.give_back.assert_called_once_with([delivery for delivery, _ in requests])
    assert lane.held.finished == []


async def test_as_many_passes_run_at_a_time_as_there_are_children(make: Make) -> None:
    lane = make(processes=2)
    lane.engine.hold_back()
    await lane.add(*readables("a", "b", "c", "d", "e"))
    await lane.begun(2)
    for count in (3, 4, 5):
        lane.engine.let_go()
        await lane.begun(count)
    lane.engine.let_go(2)
    await lane.passes.all_ended()
    assert lane.engine.begun == [["a"], ["b"], ["c"], ["d"], ["e"]]
    await lane.add(*readables("f", "g", "h"))  # and no fewer afterwards, or more
    await lane.begun(7)


async def test_an_item_that_is_tried_again_takes_a_child(make: Make) -> None:
    lane = make(processes=2)
    lane.engine.predicts["killer"] = [LOST]
    lane.engine.hold_back()
    await lane.add(*readables("a"))
    await lane.begun(1)
    await lane.add(*readables("killer"))
    await lane.begun(2)
    lane.engine.predicts["a"] = [LOST]
    lane.engine.let_go(2)
    await lane.begun(4)
    await lane.add(*readables("c"))
    await lane.begun(4)
    lane.engine.let_go(3)
    await lane.passes.all_ended()
    await lane.add(*readables("d", "e", "f"))
    await lane.begun(7)


async def test_the_next_pass_begins_before_the_last_is_recorded(make: Make) -> None:
    lane = make()
    lane.held.may_finish.clear()
    await lane.add(*readables("a", "b"))
    await lane.begun(2)
    assert lane.held.finished == []
    lane.held.may_finish.set()
    await lane.passes.all_ended()
    assert lane.held.texts() == ["a", "b"]


async def test_whoever_waits_for_a_pass_waits_for_one_alone(make: Make) -> None:
    lane = make(processes=2)
    lane.engine.hold_back()
    await lane.add(*readables("a", "b"))
    one = asyncio.create_task(lane.passes.one_ended())
    await lane.begun(2)
    assert not one.done()
    lane.engine.let_go()
    await asyncio.wait_for(one, 20)
    rest = asyncio.create_task(lane.passes.all_ended())
    await turns()
    assert not rest.done()
    lane.engine.let_go()
    await asyncio.wait_for(rest, 20)
    await asyncio.wait_for(lane.passes.one_ended(), 20)  # nothing runs: nothing to wait for


async def test_there_is_room_for_a_batch_less_what_waits(make: Make) -> None:
    lane = make(max_batch_size=4)
    assert lane.passes.room(0).interactive == 4
    lane.engine.hold_back()
    await lane.add(*readables(*"abcde"))
    await lane.begun(1)
    assert lane.passes.room(0).interactive == 3
    assert lane.passes.room(4).interactive == 15  # the queue is deep
    await lane.add(*readables("f"))
    assert lane.passes.room(0).interactive == 2
    half = b"x" * (MOST_WAITING_BYTES // 2)
    lane.engine.data_of = lambda _: half
    await lane.add(*readables("g", "h"))
    assert lane.passes.room(4).interactive == 0  # they are few, and large


async def test_a_stop_gives_back_what_waits_and_finishes_what_is_computed(make: Make) -> None:
    lane = make(processes=2)
    lane.engine.hold_back()
    requests = readables("a", "b", "c", "d")
    await lane.add(*requests)
    await lane.begun(2)
    lane.stop.set()
    draining = asyncio.create_task(lane.passes.drain())
    await turns()
    lane.held.calls.give_back.assert_called_once_with([delivery for delivery, _ in requests[2:]])
    lane.engine.let_go(2)
    await asyncio.wait_for(draining, 20)
    assert sorted(lane.held.texts()) == ["a", "b"] and lane.engine.begun == [["a"], ["b"]]
    await lane.add(readable("late"))
    await turns()
    assert lane.engine.begun == [["a"], ["b"]]


async def test_an_engine_that_breaks_down_at_the_end_is_told_once_all_has_ended(make: Make) -> None:
    lane = make(processes=2)
    lane.engine.predicts["a"] = [EngineDown("no child can be started")]
    lane.engine.hold_back()
    await lane.add(*readables("a", "b"))
    await lane.begun(2)
    draining = asyncio.create_task(lane.passes.drain())
    lane.engine.let_go()
    await turns()
    assert not draining.done()
    lane.engine.let_go()
    with pytest.raises(EngineDown, match="no child"):
        await asyncio.wait_for(draining, 20)
    assert lane.held.texts() == ["b"]


async def test_a_fault_of_ours_in_a_pass_is_raised(make: Make) -> None:
    lane = make()
    lane.engine.predicts["a"] = [RuntimeError("a fault")]
    with pytest.raises(RuntimeError, match="a fault"):
        await lane.compute(readable("a"))


async def test_labels_are_counted_of_what_succeeded_and_stands(make: Make) -> None:
    lane = make(max_batch_size=8, labels=("A", "B"))
    lane.engine.predicts["bad"] = [Failure(MODEL_ERROR, "ValueError: bad")]
    lane.engine.predicts["too late"] = [Answer(b"{}", 0.5, "B")]
    before = {label: value("predictions_by_label_total", label=label) for label in ("A", "B", "other")}
    await lane.compute(*readables("A", "A", "bad", "too late", "another"))
    grown = {label: value("predictions_by_label_total", label=label) - old for label, old in before.items()}
    assert grown == {"A": 2, "B": 0, "other": 1}


async def test_metrics_lead_to_traces_and_the_timing_of_a_pass_is_handed_on(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    duration, wait = Mock(), Mock()
    monkeypatch.setattr(passes, "INFERENCE_DURATION", duration)
    monkeypatch.setattr(passes, "QUEUE_WAIT", wait)
    spans, exemplar = Mock(LaneSpans), {"trace_id": TRACE_ID}
    spans.exemplars.side_effect = lambda requests: [exemplar if each.input == "b" else None for each in requests]
    lane = make(max_batch_size=2, spans=spans)
    await lane.compute(*readables("a", "b"))
    spans.timing.assert_called_once_with(TOOK_S, 2)
    assert lane.held.calls.finish.mock_calls[-1].args[2] is spans.timing.return_value
    duration.labels.assert_called_once_with(MODEL, VERSION)
    duration.labels().observe.assert_called_once_with(TOOK_S, exemplar)
    seconds = QUEUED_MS / 1000
    assert wait.labels().observe.mock_calls == [call(seconds, None), call(seconds, exemplar)]
    spans.exemplars.side_effect = lambda requests: [None for _ in requests]
    await lane.compute(readable("c"))
    assert duration.labels().observe.mock_calls[-1] == call(TOOK_S, None)


async def test_what_is_not_ours_any_more_is_not_begun_and_what_runs_is_stopped_and_let_go(make: Make) -> None:
    lane = make()
    lane.engine.hold_back()
    requests = [readable(text, number) for number, text in enumerate(("runs", "waits", "stays"), start=1)]
    await lane.add(*requests)
    await lane.begun(1)
    entries = {delivery.entry for delivery, _ in requests[:2]}
    assert lane.passes.forget(entries) == {requests[1][0].entry}  # what runs is held until it has ended
    assert lane.passes.forget(entries) == set()
    assert lane.engine.stopped == ["runs"]
    lane.engine.let_go(3)
    await asyncio.wait_for(lane.passes.all_ended(), 20)
    assert lane.held.texts() == ["stays"]  # what has been stopped may be half an answer: it is nobody's
    assert lane.held.calls.give_back.mock_calls == [call([requests[0][0]])]
    await lane.compute(requests[0])
    assert lane.held.texts() == ["stays", "runs"]  # it came again


async def test_how_far_an_item_is_is_told_while_it_is_computed_and_not_afterwards() -> None:
    lane = Lane(max_batch_size=2)
    lane.engine.hold_back()
    told: list[dict[str, Progress]] = []

    async def tell(progress: dict[str, Progress]) -> bool:
        told.append(progress)
        return True

    lane.streams.tell = tell
    await lane.add(*readables("a", "b"))
    await eventually(lambda: len(lane.engine.batches) == 1, "the pass has begun")
    first, second = lane.engine.batches[0]
    lane.engine.on_progress(first, Progress(0.1))
    await eventually(lambda: len(told) == 1, "it is told")
    lane.engine.on_progress(first, Progress(0.2))
    lane.engine.on_progress(first, Progress(0.3))  # only the last word counts
    lane.engine.on_progress(second, Progress(text="x"))
    await eventually(lambda: len(told) == 2, "it is told together")
    lane.engine.on_progress(second, Progress(text="xy"))
    lane.engine.let_go()
    await asyncio.wait_for(lane.passes.all_ended(), 20)
    lane.engine.on_progress(second, Progress(text="too late"))
    await asyncio.sleep(0.3)
    assert told == [{"id of a": Progress(0.1)}, {"id of a": Progress(0.3), "id of b": Progress(text="x")}]
    await lane.reports.close()
