"""What the Python client decides, without a server: when it tries again, how it cuts batches, what errors say."""

from __future__ import annotations

import asyncio
import json
import tomllib
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

import millstream_client
import millstream_client.scoring.run as run
import millstream_client.transport as transport
from millstream_client import AsyncMillstream, Millstream
from millstream_client.batches import batches, part_key
from millstream_client.calls import Call, Lost, Reply, Steps
from millstream_client.cli.program import app
from millstream_client.connection import Connection
from millstream_client.errors import (
    InvalidRequest,
    LimitReached,
    NotAllowed,
    NotFinished,
    NotFound,
    PredictionFailed,
    Unavailable,
    Unreachable,
)
from millstream_client.event_stream import EventStream, NoEvents
from millstream_client.operations import Operations
from millstream_client.results import Prediction, Unfinished, state_of
from millstream_client.retrying import Patience, answered
from millstream_client.scoring.checkpoint import Checkpoint
from millstream_client.scoring.plan import Plan
from millstream_client.scoring.tables import Table

ROOT = Path(__file__).resolve().parents[2]
URL = "http://millstream.test"
PATIENCE = Patience(60, lambda: 1.0)
DONE = {"prediction_id": "p", "model": "m", "version": "1", "status": "succeeded", "result": {"label": "A"}}
QUEUED = {"prediction_id": "p", "status": "queued"}


def reply(status: int, body: Any = None, at: float = 0, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(URL, status, names, body, at, at)


def lost(at: float = 0, arrived: bool = True) -> Lost:
    return Lost(URL, "gone", arrived, at)


def problem(status: int, **more: Any) -> Reply:
    return reply(status, {"type": "urn:millstream:problem:x", "title": "T", "detail": "why", **more})


def play(steps: Steps[Any], outcomes: Sequence[Reply | Lost]) -> tuple[list[Call], Any]:
    """What is asked if this is what comes of it, and the result."""
    calls, told = [next(steps)], iter(outcomes)
    try:
        while True:
            calls.append(steps.send(next(told)))
    except StopIteration as stopped:
        assert next(told, None) is None
        return calls, stopped.value


GET, POST = Call("GET", "/x"), Call("POST", "/x", repeatable=False)


@pytest.mark.parametrize(
    ("call", "outcome"),
    [(GET, lost()), (GET, problem(429)), (GET, problem(502)), (GET, problem(503)), (GET, problem(504))]
    + [(POST, lost(arrived=False)), (POST, problem(503)), (POST, problem(429))],
)
def test_what_may_go_better_is_tried_again(call: Call, outcome: Reply | Lost) -> None:
    calls, result = play(answered(call, PATIENCE), [outcome, reply(200, {})])
    assert [each.after_s for each in calls] == [0, 0.2] and result.status == 200


@pytest.mark.parametrize(
    ("call", "outcome", "error"),
    [(POST, lost(), Unreachable), (POST, problem(504), Unavailable), (GET, problem(422), InvalidRequest)]
    + [(GET, problem(504, prediction_id="p"), PredictionFailed), (GET, problem(401), NotAllowed)],
)
def test_what_may_not_is_told_at_once(call: Call, outcome: Reply | Lost, error: type[Exception]) -> None:
    with pytest.raises(error):
        play(answered(call, PATIENCE), [outcome])


def test_retry_after_is_obeyed_in_seconds_and_as_a_date() -> None:
    dates = {"retry_after": "Sat, 28 Nov 2026 04:00:09 GMT", "date": "Sat, 28 Nov 2026 04:00:00 GMT"}
    outcomes = [
        reply(503, retry_after="7"),
        reply(429, None, 0, **dates),
        reply(503, retry_after="soon"),
        reply(200, {}),
    ]
    calls, _ = play(answered(GET, PATIENCE), outcomes)
    assert [each.after_s for each in calls] == [0, 7.2, 9.4, 0.8]


def test_pauses_double_up_to_a_bound_and_half_of_each_is_chance() -> None:
    assert [PATIENCE.pause_s(tries) for tries in (0, 1, 2, 5, 6, 10_000)] == [0.2, 0.4, 0.8, 6.4, 10, 10]
    assert Patience(60, lambda: 0.0).pause_s(6) == 5


def test_patience_ends_and_the_error_says_when_to_come_back() -> None:
    with pytest.raises(LimitReached) as early:
        play(answered(GET, PATIENCE), [reply(429, retry_after="61")])
    assert early.value.retry_after_s == 61
    steps, at, tries = answered(GET, PATIENCE), 0.0, 0
    call = next(steps)
    with pytest.raises(Unreachable, match="tried .. times"):
        while True:
            at, tries = at + call.after_s, tries + 1
            call = steps.send(lost(at))
    assert 5 < tries < 20 and at <= 60


def test_what_is_no_answer_of_millstream_is_said_so() -> None:
    with pytest.raises(Unreachable, match="text/html.*is this its address"):
        play(answered(GET, PATIENCE), [reply(200, content_type="text/html")])
    with pytest.raises(InvalidRequest, match="https://other.test: use that address"):
        play(answered(GET, PATIENCE), [reply(308, location="https://other.test")])
    with pytest.raises(NotAllowed, match="MILLSTREAM_TOKEN"):
        play(answered(GET, PATIENCE), [problem(401)])


def test_predict_waits_by_reading_until_it_is_finished() -> None:
    steps = Operations(PATIENCE).predict("m", "text", {"version": "1"}, "key", 100)
    outcomes = [reply(202, QUEUED), reply(200, QUEUED, at=30), reply(200, QUEUED, at=95), reply(200, DONE, at=96)]
    calls, result = play(steps, outcomes)
    assert [each.params["wait"] for each in calls] == ["30", "30", "30", "5"]
    assert calls[0].body == {"model": "m", "version": "1", "text": "text"}
    assert calls[0].headers == {"Idempotency-Key": "key"} and calls[1].path == "/api/v1/predictions/p"
    assert result == Prediction.of(DONE)


def test_predict_says_what_goes_on_when_the_wait_ends() -> None:
    steps = Operations(PATIENCE).predict("m", {"a": 1}, {"expires_s": 5}, "key", 10)
    with pytest.raises(NotFinished, match="within 10 s: nobody serves it") as early:
        play(steps, [reply(202, QUEUED), reply(200, {**QUEUED, "note": "nobody serves it"}, at=10)])
    assert early.value.prediction_id == "p"


def test_a_prediction_that_fails_later_is_an_error_with_all_of_it() -> None:
    failed = {**DONE, "status": "expired", "result": None, "error": "too late"}
    with pytest.raises(PredictionFailed, match="p expired: too late") as told:
        play(Operations(PATIENCE).predict("m", "t", {}, "key", 9), [reply(202, QUEUED), reply(200, failed)])
    assert told.value.prediction and told.value.prediction.status == "expired"


def error_at(*places: tuple[str | int, ...]) -> Reply:
    return problem(422, errors=[{"loc": ["body", *place], "msg": "bad"} for place in places])


def test_refused_inputs_of_a_batch_are_left_out_under_another_key() -> None:
    answers = reply(200, {"items": [{**DONE, "prediction_id": "1"}, {**DONE, "prediction_id": "2"}]})
    steps = Operations(PATIENCE).batch("m", ["a", "", "b", {"c": 1}], {}, "key", 10)
    calls, found = play(steps, [error_at(("inputs", 1), ("inputs", 3, "d")), answers])
    assert [each.body for each in calls] == [
        {"model": "m", "inputs": ["a", "", "b", {"c": 1}]},
        {"model": "m", "texts": ["a", "b"]},
    ]
    assert [each.status for each in found] == ["succeeded", "refused", "succeeded", "refused"]
    assert [each.error for each in found][1::2] == ["bad", "d: bad"]
    keys = [each.headers["Idempotency-Key"] for each in calls]
    assert keys[0] == "key" and keys[1] == part_key("key", [0, 2], 4) != "key"


@pytest.mark.parametrize("refusal", [problem(413), error_at(("texts",))])
def test_a_batch_that_is_too_much_is_halved_down_to_one(refusal: Reply) -> None:
    steps = Operations(PATIENCE).batch("m", ["a", "b", "c"], {}, "key", 10)
    one = reply(200, {"items": [DONE]})
    calls, found = play(steps, [refusal, one, refusal, one, refusal])
    assert [each.body["texts"] for each in calls] == [["a", "b", "c"], ["a"], ["b", "c"], ["b"], ["c"]]
    assert [each.status for each in found] == ["succeeded", "succeeded", "refused"]


def test_an_error_of_the_whole_batch_is_raised() -> None:
    with pytest.raises(InvalidRequest):
        play(Operations(PATIENCE).batch("m", ["a", "b"], {}, "key", 10), [error_at(("options", "x"))])


def test_batches_are_bounded_by_number_and_bytes() -> None:
    assert list(batches("abcde", most=2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(batches(["x" * 6, "y", "z", "w" * 50, "v"], most_bytes=14)) == [
        ["x" * 6, "y"],
        ["z"],
        ["w" * 50],
        ["v"],
    ]
    assert list(batches([])) == []


def test_states_are_told_apart_and_unknown_fields_are_no_harm() -> None:
    running = {**QUEUED, "status": "running", "queue": {"depth": 3, "new": 1}, "new": 2}
    state = state_of(running)
    assert isinstance(state, Unfinished) and state.queue.depth == 3 and state.raw == running
    assert isinstance(state_of({**DONE, "new": 1, "created_at": "2026-11-24T12:03:48+00:00"}), Prediction)


def test_events_go_on_after_the_last_one_and_are_given_up_after_patience() -> None:
    stream = EventStream.of("p", PATIENCE)
    event = stream.take("progress", '{"progress": 0.5}', "7")
    assert event and (event.kind, event.data) == ("progress", {"progress": 0.5})
    assert stream.cut_off(lost(10)) == 0.2
    assert stream.call.headers["Last-Event-ID"] == "7" and not stream.ended
    with pytest.raises(Unreachable):
        stream.cut_off(lost(71))
    assert stream.take("result", "{}", "8") and stream.ended
    with pytest.raises(NoEvents):
        stream.cut_off(problem(404))


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        ({}, {}, ("http://localhost:8000", "")),
        ({}, {"MILLSTREAM_URL": "https://a.test/sub/", "MILLSTREAM_TOKEN": " t "}, ("https://a.test/sub", "Bearer t")),
        ({"url": "http://b.test", "token": "u"}, {"MILLSTREAM_TOKEN": "t"}, ("http://b.test", "Bearer u")),
    ],
)
def test_where_and_who_come_from_arguments_or_the_environment(
    given: Mapping[str, str], environ: Mapping[str, str], expected: tuple[str, str]
) -> None:
    connection = Connection.of(**given, environ=environ)
    assert (connection.url, connection.headers(GET).get("Authorization", "")) == expected


def test_a_token_file_is_read_at_each_request_and_no_token_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    connection = Connection.of(token_file=file, environ={"MILLSTREAM_TOKEN": "ignored"})
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        assert connection.headers(GET)["Authorization"] == f"Bearer {token}"
    assert "secret" not in repr(Connection.of(token="secret", environ={}))


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://a.test", "http://u:p@a.test", "http://a.test/?x=1", "http://"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Connection.of(url, environ={})


class Older:
    """A server that has no events: how it answers, in the place of a connection."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/api/v1/models":
            versions = [{"version": "1", "is_default": True, "is_active": True, "workers": 0}]
            return httpx2.Response(200, json={"items": [{"name": "m", "task": "t", "versions": versions}]})
        if request.url.path == "/api/v1/predictions/p":
            self.asked += 1
            states = {1: QUEUED, 2: QUEUED, 3: {**QUEUED, "status": "running"}}
            return httpx2.Response(200, json=states.get(self.asked, DONE))
        return httpx2.Response(404, json={"type": "urn:millstream:problem:not-found", "detail": "nothing here"})


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "settings", lambda _: {"transport": httpx2.MockTransport(Older())})


def test_a_server_without_events_is_asked_for_the_state(older: None) -> None:
    with Millstream(URL) as client:
        seen = [(each.kind, each.data["status"]) for each in client.events("p")]
        with pytest.raises(NotFound):
            next(client.events())
    assert seen == [("state", "queued"), ("state", "running"), ("result", "succeeded")]


async def test_a_server_without_events_is_asked_asynchronously_too(older: None) -> None:
    async with AsyncMillstream(URL) as client:
        seen = [each.kind async for each in client.job("p").events()]
    assert seen == ["state", "state", "result"]


def test_queues_of_a_server_without_events_say_who_serves_them(older: None) -> None:
    done = CliRunner().invoke(app, ["queues", "--url", URL])
    assert done.exit_code == 0 and "nobody serves m 1" in done.stdout and "no /api/v1/events" in done.stdout


def test_what_it_needs_is_what_it_is_tested_with() -> None:
    project = tomllib.loads((ROOT / "client/pyproject.toml").read_text("utf-8"))["project"]
    needed = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    for each in map(Requirement, needed):
        assert version(each.name) in each.specifier, each


def test_its_version_is_the_projects() -> None:
    versions = {
        tomllib.loads((ROOT / each).read_text("utf-8"))["project"]["version"]
        for each in ("pyproject.toml", "client/pyproject.toml")
    }
    assert versions == {millstream_client.__version__}


def plan_of(path: Path, rows: int, **changes: Any) -> Plan:
    facts = {"run": "r", "digest": "d", "rows": rows, "model": "m", "version": "1", "columns": ["text"], "keep": []}
    return Plan(**{**facts, "options": None, "priority": "batch", "batch_size": 64, **changes})


class Answering:
    """In the place of a client: answers at once, and notes the keys."""

    def __init__(self, dies_after: int = 10**9) -> None:
        self.keys: list[str] = []
        self._left = dies_after

    async def predict_batch(self, model: str, inputs: list[Any], *, idempotency_key: str, **_: Any) -> list[Prediction]:
        self._left -= 1
        if self._left < 0:
            raise Unreachable(URL, "gone")
        self.keys.append(idempotency_key)
        return [Prediction.of({**DONE, "prediction_id": each}) for each in inputs]


def write_numbers(path: Path, count: int) -> Table:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f'{{"text": "{number}"}}\n' for number in range(count))
    return Table(path, ["text"])


def score(client: Any, table: Table, out: Path, progress: Checkpoint) -> None:
    asyncio.run(run.score(client, table, out, progress, 4, lambda: None))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for count in (500, 5_000):
        table, out = write_numbers(tmp_path / f"{count}.jsonl", count), tmp_path / f"{count}.out.jsonl"
        tracemalloc.start()
        score(Answering(), table, out, run.begin(out, plan_of(table.path, count)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000


def test_what_was_answered_and_not_noted_is_asked_for_again_by_the_same_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = write_numbers(tmp_path / "in.jsonl", 1000), tmp_path / "out.jsonl"
    first, second = Answering(dies_after=7), Answering()
    with monkeypatch.context() as patched, pytest.raises(Unreachable):
        save, saved = run.save, iter([True])
        patched.setattr(run, "save", lambda *given: next(saved, False) and save(*given))  # killed after the first
        score(first, table, out, run.begin(out, plan_of(table.path, 1000)))
    assert len(out.read_text().splitlines()) == 7 * 64
    with out.open("a") as torn:
        torn.write('{"row": 4')
    progress = run.begin(out, plan_of(table.path, 1000, run="another"))
    assert (progress.rows, progress.plan.run) == (0, "r")
    score(second, table, out, progress)
    assert second.keys[:7] == first.keys and len(set(second.keys)) == 16
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(each["row"], each["prediction_id"]) for each in rows] == [(n + 1, str(n)) for n in range(1000)]
    assert run.begin(out, plan_of(table.path, 1000)).finished


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "e"}, "the input file has changed"),
        ({"model": "n"}, "model was 'm', not 'n'"),
        ({"options": {"a": 1}}, "options was None, not {'a': 1}"),
        ({"columns": ["a", "b"]}, "columns was"),
    ],
)
def test_another_command_does_not_go_on(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    table, out = write_numbers(tmp_path / "in.jsonl", 10), tmp_path / "out.jsonl"
    score(Answering(), table, out, run.begin(out, plan_of(table.path, 10)))
    with pytest.raises(run.CannotResume, match=said):
        run.begin(out, plan_of(table.path, 10, **change))


def test_an_output_of_others_is_left_alone(tmp_path: Path) -> None:
    table, out = write_numbers(tmp_path / "in.jsonl", 10), tmp_path / "out.jsonl"
    out.write_text("mine\n")
    with pytest.raises(run.CannotResume, match="is there already"):
        run.begin(out, plan_of(table.path, 10))
    out.unlink()
    score(Answering(), table, out, run.begin(out, plan_of(table.path, 10)))
    out.write_text("")
    with pytest.raises(run.CannotResume, match="has 0 bytes and had"):
        run.begin(out, plan_of(table.path, 10))


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    out, progress = tmp_path / "out.jsonl", Checkpoint(plan_of(tmp_path, 10))
    with run.opened(out, progress, ""):
        with pytest.raises(run.CannotResume, match="another millstream score"):
            with run.opened(out, progress, ""):
                raise AssertionError


def rows_of(path: Path, content: str, columns: Sequence[str], keep: Sequence[str] = ()) -> Iterator[tuple[Any, Any]]:
    path.write_text(content, encoding="utf-8")
    return ((row.given, dict(row.kept)) for row in Table(path, columns, keep).rows())


def test_cells_of_csv_are_texts_alone_and_numbers_in_objects(tmp_path: Path) -> None:
    content = "\ufeffa,b,c\n1,2.5,\n007,true,x\n"
    assert list(rows_of(tmp_path / "t.csv", content, ["a"], ["c"])) == [("1", {"c": ""}), ("007", {"c": "x"})]
    found = [given for given, _ in rows_of(tmp_path / "t.csv", content, ["a", "b", "c"])]
    assert found == [{"a": 1, "b": 2.5, "c": None}, {"a": "007", "b": True, "c": "x"}]
