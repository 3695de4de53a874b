"""From results to rows."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persister.rows import UNREADABLE, Row, rejected, row_of, stand_ins, unreadable
from shared.contract.errors import MalformedMessage
from shared.contract.given import given_of, with_options
from shared.contract.ids import principal_id, uuid7
from shared.contract.messages import Outcome, PredictionResult, Status, decode_result
from shared.contract.queues import Priority

ID = uuid7(1_733_000_000_000, 1)


def result(**changes: object) -> PredictionResult:
    base = PredictionResult(
        id=ID,
        model="m",
        version="1",
        outcome=Outcome(Status.SUCCEEDED, b'{"label":"A"}', 0.5, 10, 20, worker="w", tokens=30, compute_us=40),
        input=b'{"text":"hello"}',
        principal="team",
        completed_at=1_733_000_000_500,
    )
    return base._replace(**changes)  # type: ignore[arg-type]


def test_a_result_becomes_a_row() -> None:
    row = row_of(result())
    assert row.id == ID
    assert (row.input_data, row.output_data) == ('{"text":"hello"}', '{"label":"A"}')
    assert row.created_at == datetime.fromtimestamp(1_733_000_000, UTC)
    assert row.completed_at == datetime.fromtimestamp(1_733_000_000.5, UTC)
    assert (row.status, row.confidence, row.error, row.principal) == ("succeeded", 0.5, None, "team")


def test_every_field_of_a_result_stands_in_its_row() -> None:
    outcome = Outcome(Status.FAILED, None, None, 10, 20, "why", "w", True, 30, 40)
    whole = result(outcome=outcome, attempt=3, priority=Priority.BATCH, options=b'{"a":1}', **PART)
    whole = whole._replace(tags=b'{"a":"b"}', callback_url="https://a.b/x?secret", traceparent=TRACEPARENT)
    assert row_of(whole) == Row(
        id=ID,
        model="m",
        version="1",
        input_data='{"text":"hello","options":{"a":1}}',
        output_data=None,
        confidence=None,
        processing_time_ms=10,
        created_at=datetime.fromtimestamp(1_733_000_000, UTC),
        status="failed",
        error="why",
        attempt=3,
        principal="team",
        queue_time_ms=20,
        cached=True,
        tokens=30,
        compute_us=40,
        input_bytes=len('{"text":"hello"}') + len('{"a":1}'),
        completed_at=datetime.fromtimestamp(1_733_000_000.5, UTC),
        experiment_id=ID,
        arm="new",
        subject_id="s_1",
        shadow_of=ID,
        shadow_for=ANN,
        priority="batch",
        tags='{"a":"b"}',
        worker="w",
        callback="https://a.b/x?…",
        trace_id="a" * 32,
        callback_url="https://a.b/x?secret",
        traceparent=TRACEPARENT,
    )
    assert Row._field_defaults == {
        **dict.fromkeys(PART),
        "shadow_for": None,
        "priority": "interactive",
        "options": None,
        "tags": None,
        "worker": None,
        "trace_id": None,
        "callback": None,
        "callback_error": None,
        "callback_url": "",
        "traceparent": "",
    }


def test_what_is_no_part_of_an_experiment_has_nothing_of_one() -> None:
    assert [getattr(row_of(result()), name) for name in PART] == [None] * 5
    assert {name: getattr(row_of(result(**PART)), name) for name in PART} == PART


def test_an_unreadable_result_stays_a_part_of_its_experiment() -> None:
    """Otherwise a shadow's failures would be in everybody's history, and missing from the results."""
    row = unreadable(ID, ENTRY, FIELDS | {name.encode(): value.encode() for name, value in PART.items()}, "why")
    assert {name: getattr(row, name) for name in PART} == PART
    assert {name: getattr(rejected(row, "why"), name) for name in PART} == {**PART, "arm": None, "subject_id": None}
    spoilt = unreadable(ID, ENTRY, {**FIELDS, b"experiment_id": b"1", b"shadow_of": b"\xff"}, "why")
    assert (spoilt.experiment_id, spoilt.shadow_of) == (None, None)
    assert rejected(row._replace(shadow_for="\0"), "why").shadow_for is None


def test_an_id_beyond_the_calendar_is_as_old_as_its_end() -> None:
    row = row_of(result(id="ffffffff-ffff-7fff-bfff-ffffffffffff"))
    assert row.created_at == row.completed_at


FIELDS = {
    b"schema": b"1",
    b"id": ID.encode(),
    b"attempt": b"2",
    b"model": b"m",
    b"version": b"1",
    b"input": b'{"text":"hello"}',
    b"options": b'{"labels":["a","b"]}',
    b"principal": b"team",
    b"status": b"?",
    b"completed_at": b"1733000000500",
}
ENTRY = "1733000000700-3"
ANN = principal_id("test", "ann")
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"
PART = {"experiment_id": ID, "arm": "new", "subject_id": "s_1", "shadow_of": ID, "shadow_for": ANN}


def test_what_can_be_read_of_an_unreadable_result_is_kept() -> None:
    row = unreadable(ID, ENTRY, FIELDS, "field 'status' is '?'")
    assert (row.id, row.model, row.version, row.attempt, row.principal) == (ID, "m", "1", 2, "team")
    assert row.input_data == '{"text":"hello","options":{"labels":["a","b"]}}'
    assert row.completed_at == datetime.fromtimestamp(1_733_000_000.5, UTC)
    assert (row.status, row.output_data) == ("failed", None)
    assert row.error == "the result could not be read: field 'status' is '?'"


def test_a_trace_goes_on_though_its_result_cannot_be_read() -> None:
    assert unreadable(ID, ENTRY, {**FIELDS, b"traceparent": b"00-t"}, "why").traceparent == "00-t"
    assert unreadable(ID, ENTRY, FIELDS, "why").traceparent == ""


@pytest.mark.parametrize(
    ("written", "kept"), [(b"2147483647", 2**31 - 1), (b"2147483648", 0), (b"-1", 0), (b"1.5", 0), (b"9" * 19, 0)]
)
def test_an_attempt_that_no_column_holds_is_the_first(written: bytes, kept: int) -> None:
    assert unreadable(ID, ENTRY, {**FIELDS, b"attempt": written}, "why").attempt == kept


@pytest.mark.parametrize(
    ("written", "entry", "ms"),
    [
        (b"1733000000500", ENTRY, 1_733_000_000_500),
        (b"0", ENTRY, 1_733_000_000_700),
        (b"253402300800000", ENTRY, 1_733_000_000_700),  # beyond the calendar
        (b"?", "253402300800000-0", 0),
        (b"?", "?", 0),
    ],
)
def test_the_time_of_a_result_that_cannot_be_read(written: bytes, entry: str, ms: int) -> None:
    row = unreadable(ID, entry, {**FIELDS, b"completed_at": written}, "why")
    assert row.completed_at == datetime.fromtimestamp(ms / 1000, UTC)


def test_what_cannot_be_read_is_replaced_and_its_entry_tells_the_time() -> None:
    row = unreadable(ID, ENTRY, {b"id": ID.encode()}, "x" * 600)
    assert (row.model, row.version, row.attempt, row.principal, row.input_data) == (UNREADABLE, UNREADABLE, 0, "", "{}")
    assert row.completed_at == datetime.fromtimestamp(1_733_000_000.7, UTC)
    assert row.error is not None and len(row.error) == 500


@given(
    st.dictionaries(st.sampled_from(sorted(FIELDS)), st.binary(max_size=30) | st.integers().map(lambda n: b"%d" % n)),
    st.sampled_from([ENTRY, "18446744073709551615-1"]),
)
def test_whatever_an_entry_holds_there_is_a_row_for_its_id(changes: dict[bytes, bytes], entry: str) -> None:
    fields = {**FIELDS, **changes, b"id": ID.encode()}
    try:
        row = row_of(decode_result(fields))
    except MalformedMessage as error:
        row = unreadable(ID, entry, fields, str(error))
        assert row.status == "failed"
    assert row.id == ID


def test_stand_ins_keep_less_and_less() -> None:
    first, last = stand_ins(row_of(result(attempt=3)), "rejected_by_postgres")
    assert first == rejected(row_of(result(attempt=3)), "rejected_by_postgres")
    assert (last.model, last.version, last.attempt) == (UNREADABLE, UNREADABLE, 3)


def test_options_are_kept_beside_the_text() -> None:
    assert orjson.loads(given_of(result(options=b'{"labels":["a","b"]}')).input) == {
        "text": "hello",
        "options": {"labels": ["a", "b"]},
    }


@pytest.mark.parametrize("empty", [b"{}", b"{ }", b" {} "])
def test_options_stand_alone_beside_an_empty_input(empty: bytes) -> None:
    assert orjson.loads(given_of(result(input=empty, options=b'{"a":1}')).input) == {"options": {"a": 1}}


def test_an_input_keeps_its_spaces_inside() -> None:
    assert given_of(result(input=b' {"text":"a b" } ', options=b"{}")) == (b' {"text":"a b" } ', None)
    assert given_of(result(input=b' {"text":"a b" } ', options=b'{"a":1}')) == (
        b'{"text":"a b","options":{"a":1}}',
        None,
    )


@pytest.mark.parametrize("raw", [b"[1]", b'"text"', b'{"text":"a","lang":"en"}', b'{"options":1}', b"0", b"false"])
def test_options_have_a_column_where_the_input_is_no_object_with_a_text_alone(raw: bytes) -> None:
    row = row_of(result(input=raw, options=b'{"a":1}'))
    assert (row.input_data, row.options) == (raw.decode(), '{"a":1}')
    assert row_of(result(input=raw, options=b"{}")).options is None


def test_what_cannot_be_read_is_called_so() -> None:
    assert UNREADABLE == "unreadable"  # as the docs and the history of callers have it


def test_a_rejected_row_keeps_nothing_else() -> None:
    row = row_of(result())
    data = {
        "input_data": "{}",
        "options": None,
        "output_data": None,
        "confidence": None,
        "principal": "",
        "arm": None,
        "subject_id": None,
    }
    times = {"processing_time_ms": 0, "queue_time_ms": 0, "tokens": 0, "compute_us": 0}
    about = {"worker": None, "status": "failed", "error": "the result could not be stored: why"}
    assert rejected(row, "why")._asdict() == {**row._asdict(), **data, **times, **about}


def test_a_rejected_row_is_still_its_callers() -> None:
    """Unless what stands for one is what Postgres would not take."""
    caller = "p_" + "a" * 26
    assert rejected(row_of(result(principal=caller)), "why").principal == caller
    assert rejected(row_of(result(principal="p" * 300)), "why").principal == ""


@pytest.mark.parametrize("raw", [b"{", b"\xff", b""])
def test_an_input_that_is_no_json_is_replaced(raw: bytes) -> None:
    assert unreadable(ID, ENTRY, {**FIELDS, b"input": raw, b"options": b"{}"}, "why").input_data == "{}"


def test_a_rejected_row_keeps_who_and_why_but_no_data() -> None:
    row = rejected(row_of(result()), "r" * 600)
    assert (row.id, row.model, row.status, row.input_data, row.output_data) == (ID, "m", "failed", "{}", None)
    assert row.error is not None and row.error.startswith("the result could not be stored: r") and len(row.error) == 500


@pytest.mark.parametrize(
    ("input_", "options", "joined"),
    [
        (b'{"text": "a"}', b"{}", b'{"text": "a"}'),
        (b'{"text": "a"} ', b'{"b":1}', b'{"text": "a","options":{"b":1}}'),
        (b"{}", b'{"b":1}', b'{"options":{"b":1}}'),
    ],
)
def test_options_are_joined_to_an_object_as_text(input_: bytes, options: bytes, joined: bytes) -> None:
    assert with_options(input_, options) == joined
