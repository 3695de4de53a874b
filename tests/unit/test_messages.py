"""The wire contract: what decodes, what is refused and why."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.errors import MalformedMessage
from shared.contract.hints import FIELD_SEPARATOR, RECORD_SEPARATOR, Hint, decode_hints
from shared.contract.messages import (
    ERROR_MAX_CHARS,
    FINAL_STATUSES,
    OUTCOME_FIELDS,
    REQUEST_FIELDS,
    Outcome,
    PredictionRequest,
    PredictionResult,
    Status,
    decode_request,
    decode_result,
    encode_outcome,
    readable,
)
from shared.contract.queues import Priority

CONTRACT = Path(__file__).parent.parent / "contract"
ID = "0193a5b0-7c00-7abc-8def-0123456789ab"
OTHER_ID = "0193a5b0-7c00-7abc-8def-0123456789ff"
NO_EXPERIMENT = {"experiment_id": "", "arm": "", "subject_id": "", "shadow_of": "", "shadow_for": ""}


def example(name: str) -> dict[bytes, bytes]:
    fields = json.loads((CONTRACT / "v1" / f"{name}.json").read_text(encoding="utf-8"))
    return {name.encode(): value.encode() for name, value in fields.items()}


def test_every_example_of_every_schema_still_decodes() -> None:
    examples = sorted(CONTRACT.glob("v*/*.json"))
    assert len(examples) >= 4
    for path in examples:
        decode = decode_request if path.name.startswith("request") else decode_result
        assert decode(example(path.stem)).id.startswith("0193a5b0"), path


def test_a_request_decodes_with_its_options_and_ignores_unknown_fields() -> None:
    request = decode_request(example("request_with_options"))
    assert request.input == "Grüße 👋"
    assert request.options == {"labels": ["sport", "politics"]}
    assert (request.attempt, request.principal, request.deadline_at) == (2, "team-a", 1733003600000)


def test_a_result_decodes_with_its_outcome() -> None:
    result = decode_result(example("result_succeeded"))
    assert result.outcome.status is Status.SUCCEEDED
    assert orjson.loads(result.outcome.result or b"")["label"] == "POSITIVE"
    assert (result.outcome.confidence, result.outcome.processing_time_ms) == (0.96, 23)
    failed = decode_result(example("result_failed"))
    assert (failed.outcome.status, failed.outcome.result, failed.outcome.confidence) == (Status.FAILED, None, None)
    assert failed.outcome.error == "ValueError: this text cannot be read"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (b"schema", b"2", "unknown_schema"),
        (b"schema", b"0", "unknown_schema"),
        (b"schema", b"one", "bad_field"),
        (b"id", b"not-a-uuid", "bad_id"),
        (b"id", ID.upper().encode(), "bad_id"),
        (b"input", b"{", "bad_json"),
        (b"input", b"null", "bad_input"),
        (b"input", b'{"a": ["\\u0000"]}', "bad_input"),
        (b"input", b"{}", "bad_input"),
        (b"input", b'{"text": "\\u0000"}', "bad_input"),
        (b"options", b"3", "bad_json"),
        (b"input", b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "bad_json"),  # can be read, but not be written again
        (b"input", b"[" * 1000 + b"]" * 1000, "bad_json"),
        (b"options", b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "bad_json"),
        (b"model", b"\xff", "bad_field"),
        (b"attempt", b"-1", "bad_field"),
        (b"submitted_at", b"9" * 30, "bad_field"),
        (b"deadline_at", b"", "bad_field"),
    ],
)
def test_a_malformed_request_is_refused_with_a_reason(field: bytes, value: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as error:
        decode_request({**example("request"), field: value})
    assert error.value.reason == reason
    assert field.decode() in str(error.value)


LIMITS: list[tuple[bytes, bytes, bytes]] = [  # the most that a field holds, and one more
    (b"model", b"m" * 100, b"m" * 101),
    (b"version", b"1" * 20, b"1" * 21),
    (b"principal", b"p" * 200, b"p" * 201),
    (b"attempt", b"2147483647", b"2147483648"),
    (b"submitted_at", b"253402300799999", b"253402300800000"),
    (b"deadline_at", b"253402300799999", b"253402300800000"),
]


@pytest.mark.parametrize(("field", "most", "more"), LIMITS)
def test_a_field_of_a_request_holds_so_much_and_no_more(field: bytes, most: bytes, more: bytes) -> None:
    read = getattr(decode_request({**example("request"), field: most}), field.decode())
    assert str(read) == most.decode()
    with pytest.raises(MalformedMessage, match=f"field '{field.decode()}'"):
        decode_request({**example("request"), field: more})


@pytest.mark.parametrize(
    ("field", "most", "more"),
    [
        *LIMITS[:4],
        (b"completed_at", b"253402300799999", b"253402300800000"),
        (b"arm", b"a" * 40, b"a" * 41),
        (b"subject_id", b"s" * 64, b"s" * 65),
    ],
)
def test_a_field_of_a_result_holds_so_much_and_no_more(field: bytes, most: bytes, more: bytes) -> None:
    read = getattr(decode_result({**example("result_succeeded"), field: most}), field.decode())
    assert str(read) == most.decode()
    with pytest.raises(MalformedMessage, match=f"field '{field.decode()}'"):
        decode_result({**example("result_succeeded"), field: more})


def test_what_is_not_said_is_empty() -> None:
    assert PredictionRequest("i", "m", "1", "t", {})[5:] == (0, "", 0, 0, "", Priority.INTERACTIVE)
    assert Outcome(Status.FAILED)[1:] == (None, None, 0, 0, "", "", False, 0, 0)
    result = PredictionResult("i", "m", "1", Outcome(Status.FAILED))._asdict()
    known = {
        "id": "i",
        "model": "m",
        "version": "1",
        "outcome": Outcome(Status.FAILED),
        "attempt": 0,
        "completed_at": 0,
    }
    rest: dict[str, object] = {"options": b"{}", "principal": "", "traceparent": "", "input_bytes": 0}
    rest |= {"priority": Priority.INTERACTIVE, "tags": b"", "callback_url": ""}
    assert result == {**known, "input": b"{}", **rest, **NO_EXPERIMENT}


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b'{"text":"t"}', "t"),
        (b'"t"', "t"),
        (b'{"text":"t","lang":"en"}', {"text": "t", "lang": "en"}),
        (b'{"text":1}', {"text": 1}),
        (b"[1,[2.5,null]]", [1, [2.5, None]]),
        (b"0", 0),
        (b'{"a":"\\\\u0000"}', {"a": "\\u0000"}),  # a backslash and six letters
    ],
)
def test_an_input_is_a_text_or_any_other_json(raw: bytes, read: object) -> None:
    assert decode_request({**example("request"), b"input": raw}).input == read
    assert decode_result({**example("result_succeeded"), b"input": raw}).input == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"a":1}',
        b'{"":"a"}',
        b'{"a":"\\u0000"}',
        b'{"a":"a\\n"}',
        b'{"a\\n":"a"}',
        b'{"a":"' + b"a" * 65 + b'"}',
    ],
)
def test_what_are_no_tags_is_no_reason_to_refuse_a_result(raw: bytes) -> None:
    assert decode_result({**example("result_succeeded"), b"tags": raw}).tags == b""


def test_a_confidence_may_be_none_at_all() -> None:
    assert decode_result({**example("result_succeeded"), b"confidence": b"0"}).outcome.confidence == 0.0


def test_empty_options_are_none() -> None:
    assert decode_request({**example("request_with_options"), b"options": b""}).options == {}
    assert decode_result({**example("result_succeeded"), b"options": b"", b"result": b""}).options == b"{}"


def test_statuses_are_called_as_the_contract_says() -> None:
    assert [each.value for each in Status] == ["queued", "running", "succeeded", "failed", "expired", "cancelled"]
    assert FINAL_STATUSES == set(Status) - {Status.QUEUED, Status.RUNNING}


def test_every_field_of_a_request_is_read() -> None:
    fields = {b"schema": b"1", b"id": ID.encode(), b"model": b"m", b"version": b"1", b"input": b'{"text":"t"}'}
    times = {b"submitted_at": b"1", b"deadline_at": b"2"}
    assert decode_request({**fields, **times}) == PredictionRequest(ID, "m", "1", "t", {}, 0, "", 1, 2, "")
    more = {
        b"options": b'{"a":1}',
        b"attempt": b"3",
        b"principal": b"p",
        b"traceparent": b"00-t",
        b"priority": b"batch",
    }
    whole = PredictionRequest(ID, "m", "1", "t", {"a": 1}, 3, "p", 1, 2, "00-t", Priority.BATCH)
    assert decode_request({**fields, **times, **more}) == whole
    passed_on = {
        b"cost",
        b"experiment_id",
        b"arm",
        b"subject_id",
        b"shadow_of",
        b"shadow_for",
        b"stored_input",
        b"tags",
        b"callback_url",
    }  # no worker needs them
    assert {name.decode() for name in fields.keys() | more.keys() | passed_on} == set(REQUEST_FIELDS)


def test_every_field_of_a_result_is_read() -> None:
    fields = {b"schema": b"1", b"id": ID.encode(), b"model": b"m", b"version": b"1", b"input": b'{"text":"t"}'}
    least = {**fields, b"status": b"expired", b"completed_at": b"5"}
    outcome = Outcome(Status.EXPIRED, None, None, 0, 0, "", "", False)
    known = {"id": ID, "model": "m", "version": "1", "input": b'{"text":"t"}', "completed_at": 5}
    rest = {"attempt": 0, "options": b"{}", "principal": "", "traceparent": "", "input_bytes": 0, **NO_EXPERIMENT}
    rest |= {"priority": Priority.INTERACTIVE, "tags": b"", "callback_url": ""}
    assert decode_result(least)._asdict() == {**known, **rest, "outcome": outcome}
    more = {b"options": b'{"a":1}', b"attempt": b"3", b"principal": b"p", b"traceparent": b"00-t", b"confidence": b"1"}
    more |= {b"result": b'{"b":2}', b"processing_time_ms": b"6", b"queue_time_ms": b"7", b"error": b"e"}
    more |= {b"worker": b"w", b"cached": b"1", b"tokens": b"8", b"compute_us": b"9", b"input_bytes": b"10"}
    more |= {b"experiment_id": OTHER_ID.encode(), b"arm": b"new", b"subject_id": b"s", b"shadow_of": ID.encode()}
    more |= {b"shadow_for": b"q", b"priority": b"batch", b"tags": b'{"a":"b"}', b"callback_url": b"https://a.b/"}
    rest = {"attempt": 3, "options": b'{"a":1}', "principal": "p", "traceparent": "00-t", "input_bytes": 10}
    rest |= {"experiment_id": OTHER_ID, "arm": "new", "subject_id": "s", "shadow_of": ID, "shadow_for": "q"}
    rest |= {"priority": Priority.BATCH, "tags": b'{"a":"b"}', "callback_url": "https://a.b/"}
    outcome = Outcome(Status.EXPIRED, b'{"b":2}', 1.0, 6, 7, "e", "w", True, 8, 9)
    assert decode_result({**least, **more})._asdict() == {**known, **rest, "outcome": outcome}


@pytest.mark.parametrize("raw", [b"\xff", b"https://a.b/\0", b"x" * 2001])
def test_what_is_no_callback_is_no_reason_to_refuse_a_result(raw: bytes) -> None:
    assert decode_result({**example("result_succeeded"), b"callback_url": raw}).callback_url == ""


@pytest.mark.parametrize("field", [b"schema", b"id", b"model", b"version", b"input", b"submitted_at", b"deadline_at"])
def test_a_request_without_a_required_field_is_refused(field: bytes) -> None:
    fields = example("request")
    del fields[field]
    with pytest.raises(MalformedMessage) as error:
        decode_request(fields)
    assert (error.value.reason, str(error.value)) == ("missing_field", f"field '{field.decode()}' is missing")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (b"status", b"queued", "bad_status"),
        (b"status", b"done", "bad_status"),
        (b"result", b"{", "bad_json"),
        (b"result", b'"text"', "bad_json"),
        (b"confidence", b"high", "bad_field"),
        (b"confidence", b"1.5", "bad_field"),
        (b"confidence", b"nan", "bad_field"),
        (b"completed_at", b"now", "bad_field"),
        (b"options", b"x", "bad_json"),
        (b"experiment_id", b"1", "bad_id"),
        (b"shadow_of", b"1", "bad_id"),
        (b"arm", b"\0", "bad_field"),
        (b"subject_id", b"\0", "bad_field"),
    ],
)
def test_a_malformed_result_is_refused_with_a_reason(field: bytes, value: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as error:
        decode_result({**example("result_succeeded"), field: value})
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (b"schema", b"2", "schema 2 is unknown: this version reads 1 to 1"),
        (b"id", b"?", "field 'id' is not a UUID in its canonical form"),
        (b"options", b"[]", "field 'options' is not a JSON object"),
        (b"input", b"", "field 'input' is not JSON: Input is a zero-length, empty document: line 1 column 1 (char 0)"),
        (b"model", b"\xff", "field 'model' is not UTF-8"),
        (b"model", b"a\0b", "field 'model' is not of 1 to 100 characters without NUL"),
        (b"version", b"", "field 'version' is not of 1 to 20 characters without NUL"),
        (b"attempt", b"-1", "field 'attempt' is not a whole number from 0 to 2147483647"),
        (b"status", b"x" * 41, f"field 'status' is '{'x' * 40}'"),
        (b"confidence", b"high", "field 'confidence' is not a number"),
        (b"confidence", b"-0.1", "field 'confidence' is not between 0 and 1"),
    ],
)
def test_a_refusal_says_what_is_wrong(field: bytes, value: bytes, said: str) -> None:
    with pytest.raises(MalformedMessage) as error:
        decode_result({**example("result_succeeded"), field: value})
    assert str(error.value) == said


def test_an_outcome_is_written_as_the_contract_says() -> None:
    assert encode_outcome(Outcome(Status.FAILED)) == ("failed", b"", "", "0", "0", "", "", "0", "", "")
    whole = Outcome(Status.SUCCEEDED, b"{}", 1, 2, 3, "an\nerror", "w", True, 4, 2**40)
    assert encode_outcome(whole) == ("succeeded", b"{}", "1.0", "2", "3", "an error", "w", "1", "4", str(2**31 - 1))


outcomes = st.builds(
    Outcome,
    status=st.sampled_from([Status.SUCCEEDED, Status.FAILED, Status.EXPIRED, Status.CANCELLED]),
    result=st.none() | st.dictionaries(st.text(), st.text() | st.integers(0, 9)).map(orjson.dumps),
    confidence=st.none() | st.floats(0, 1),
    processing_time_ms=st.integers(0, 10**9),
    queue_time_ms=st.integers(0, 10**9),
    error=st.text(max_size=50).map(readable),
    worker=st.from_regex(r"[a-z0-9-]{0,20}", fullmatch=True),
    cached=st.booleans(),
    tokens=st.integers(0, 2**31 - 1),
    compute_us=st.integers(0, 2**31 - 1),
)


@given(outcomes)
def test_an_outcome_survives_the_stream(outcome: Outcome) -> None:
    encoded = dict(zip(OUTCOME_FIELDS, encode_outcome(outcome), strict=True))
    fields = {name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in encoded.items()}
    added = {name: value for name, value in fields.items() if value}
    assert decode_result({**example("request"), **added, b"completed_at": b"1"}).outcome == outcome


@given(st.lists(outcomes, min_size=1, max_size=3))
def test_outcomes_survive_a_hint(several: list[Outcome]) -> None:
    records = [FIELD_SEPARATOR.join(name.encode() for name in ("id", "attempt", "model", "version", *OUTCOME_FIELDS))]
    for outcome in several:
        values = [ID, "0", "m", "1", *encode_outcome(outcome)]
        records.append(FIELD_SEPARATOR.join(v if isinstance(v, bytes) else v.encode() for v in values))
    hints = decode_hints(RECORD_SEPARATOR.join(records))
    assert [hint.outcome for hint in hints] == several
    assert {(hint.id, hint.model, hint.version) for hint in hints} == {(ID, "m", "1")}


def test_a_hint_of_an_id_alone_has_no_outcome() -> None:
    assert decode_hints(b"id\x1e" + ID.encode()) == [Hint(ID, 0, "", "", None)]
    header = b"\x1f".join(name.encode() for name in ("id", "attempt", "model", "version", *OUTCOME_FIELDS))
    assert decode_hints(header + b"\x1e" + ID.encode()) == [Hint(ID)]  # too long to be told


def test_a_hint_is_read_by_the_names_at_its_head() -> None:
    head, values = b"status\x1fversion\x1fid\x1fattempt\x1fmodel\x1fnew", b"succeeded\x1f1\x1fX\x1f2\x1fm\x1f?"
    ((prediction_id, attempt, model, version, outcome, _),) = decode_hints(head + b"\x1e" + values)
    assert (prediction_id, attempt, model, version) == ("X", 2, "m", "1")
    assert outcome is not None and outcome.status is Status.SUCCEEDED


def test_a_hint_that_cannot_be_read_is_skipped_and_the_next_is_read() -> None:
    bad = b"X\x1fmany\x1fm\x1f1\x1fsucceeded"
    hints = decode_hints(b"id\x1fattempt\x1fmodel\x1fversion\x1fstatus\x1e" + bad + b"\x1e" + ID.encode())
    assert [hint.id for hint in hints] == [ID]


@given(st.binary(max_size=200))
def test_a_broken_hint_never_raises(payload: bytes) -> None:
    decode_hints(payload)
    decode_hints(payload + b"\x1f" * 12)


@given(st.text())
def test_an_error_text_is_one_short_printable_line(text: str) -> None:
    line = readable(text)
    assert line == "" or line.isprintable()
    assert len(line) <= ERROR_MAX_CHARS
    assert readable(line) == line
