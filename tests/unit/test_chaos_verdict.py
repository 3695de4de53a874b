"""The chaos suite's judgement: each way to break a promise is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.ledger import Asked, Ledger, Told
from tests.chaos.report import Outcome
from tests.chaos.verdict import Left, Stored, Verdict, judge

FINE = Asked("c1 n1", "echo", "1.0.0")
BAD = Asked("raise c1 n2", "echo", "1.0.0")
SHORT = Asked("c1 n3", "noop", "1.0.0", may_expire=True)
DONE = Told("succeeded", FINE.answer())
RAISED = Told("failed", None, "ValueError: this model cannot read 'raise'")
LATE = Told("expired", None, "the deadline passed after 51 ms in the queue")
GIVEN_UP = Told("failed", None, "given up after 20 deliveries: each time the worker that computed it died or lost it")
ROW = Stored("id-1", "echo", "1.0.0", FINE.text, DONE)
ROWS = [
    ROW,
    Stored("id-2", "echo", "1.0.0", BAD.text, RAISED),
    Stored("id-3", "noop", "1.0.0", SHORT.text, LATE),
]
AT_REST = Left(lengths={"results": 0}, pending={"results": 0}, requests_added=3, results_added=3)


@pytest.fixture
def ledger() -> Ledger:
    """Three requests, all accepted."""
    made = Ledger()
    for number, asked in enumerate((FINE, BAD, SHORT), start=1):
        made.send(asked)
        made.accept(f"id-{number}", asked)
        made.tell(f"id-{number}", Told("queued"))
    return made


def test_a_run_that_kept_every_promise_has_no_violations(ledger: Ledger) -> None:
    ledger.tell("id-1", DONE)
    ledger.tell("id-1", DONE)
    verdict = judge(ledger, ROWS, AT_REST)
    assert verdict.violations() == []
    assert dict(verdict.statuses) == {"succeeded": 1, "failed": 1, "expired": 1}


def test_what_was_accepted_and_is_not_stored_is_lost(ledger: Ledger) -> None:
    assert judge(ledger, ROWS[1:], AT_REST).lost == ["id-1 ('c1 n1') is not stored"]


@pytest.mark.parametrize("again", [ROW, replace(ROW, id="id-9")], ids=["same id", "another id"])
def test_what_is_stored_twice_is_a_duplicate(ledger: Ledger, again: Stored) -> None:
    assert "text 'c1 n1' is stored 2 times" in judge(ledger, [*ROWS, again], AT_REST).duplicated


def test_a_request_with_two_results_is_a_duplicate_though_stored_once(ledger: Ledger) -> None:
    assert judge(ledger, ROWS, replace(AT_REST, results_added=4)).duplicated == ["3 requests made 4 results"]


@pytest.mark.parametrize(
    "row",
    [
        replace(ROW, told=Told("succeeded", {"echo": "c1 n1", "reversed": "c1 n1"})),
        replace(ROW, told=Told("succeeded", None)),
        replace(ROW, told=RAISED),
        replace(ROW, told=LATE),
        replace(ROW, told=Told("failed", None, "")),
        replace(ROW, told=Told("cancelled")),
        replace(ROW, text="c1 n3"),
        replace(ROW, version="2.0.0"),
        replace(ROWS[1], told=Told("succeeded", BAD.answer())),
        replace(ROWS[1], told=LATE),
        replace(ROWS[2], told=Told("succeeded", FINE.answer())),
        Stored("id-9", "echo", "1.0.0", "nobody sent this", DONE),
    ],
)
def test_an_end_that_does_not_fit_what_was_asked_is_wrong(ledger: Ledger, row: Stored) -> None:
    rows = {each.id: each for each in ROWS} | {row.id: row}
    (problem,) = judge(ledger, list(rows.values()), AT_REST).wrong
    assert problem.startswith(row.id)


def test_what_no_client_heard_of_must_be_right_too(ledger: Ledger) -> None:
    unheard = Asked("c1 n4", "echo", "2.0.0")
    ledger.send(unheard)
    row = Stored("id-4", "echo", "2.0.0", unheard.text, Told("succeeded", unheard.answer()))
    verdict = judge(ledger, [*ROWS, row], replace(AT_REST, requests_added=4, results_added=4))
    assert (verdict.violations(), verdict.unannounced) == ([], 1)
    assert judge(ledger, [*ROWS, replace(row, told=DONE)], AT_REST).wrong


def test_an_accepted_id_that_was_not_found_is_a_violation(ledger: Ledger) -> None:
    ledger.not_found.append("id-1")
    assert judge(ledger, ROWS, AT_REST).violations() == ["id-1 was accepted, and then not found"]


def test_an_answer_that_contradicts_an_earlier_one_is_a_violation(ledger: Ledger) -> None:
    ledger.tell("id-1", DONE)
    ledger.tell("id-1", Told("queued"))
    ledger.accept("id-2", FINE)
    assert len(judge(ledger, ROWS, AT_REST).contradictions) == 2


def test_an_answer_that_differs_from_what_is_stored_is_wrong(ledger: Ledger) -> None:
    ledger.tell("id-1", GIVEN_UP)
    assert len(judge(ledger, ROWS, AT_REST).wrong) == 1


def test_what_was_given_up_is_allowed_counted_and_explains_its_dead_letter(ledger: Ledger) -> None:
    rows = [replace(ROW, told=GIVEN_UP), *ROWS[1:]]
    verdict = judge(ledger, rows, replace(AT_REST, dead_letters=[("id-1", "max_deliveries")]))
    assert (verdict.violations(), verdict.given_up) == ([], 1)


@pytest.mark.parametrize(
    "left",
    [
        replace(AT_REST, lengths={"results": 1}),
        replace(AT_REST, pending={"results": 1}),
        replace(AT_REST, states=["prediction:id-1"]),
        replace(AT_REST, dead_consumers={"results": 1}),
        replace(AT_REST, dead_letters=[("id-1", "max_deliveries")]),
        replace(AT_REST, dead_letters=[("id-1", "bad_json")]),
        replace(AT_REST, charged={"limits:p_x": 1}),
    ],
)
def test_what_is_left_behind_is_a_violation(ledger: Ledger, left: Left) -> None:
    assert len(judge(ledger, ROWS, left).left_behind) == 1


def test_a_version_that_the_experiment_chose_is_right_whichever_it_is(ledger: Ledger) -> None:
    ledger.accepted = {each: replace(asked, version="") for each, asked in ledger.accepted.items()}
    ledger.sent = {text: replace(asked, version="") for text, asked in ledger.sent.items()}
    assert judge(ledger, ROWS, AT_REST).wrong == []


def test_the_report_shows_what_was_broken_and_what_was_lost(ledger: Ledger) -> None:
    verdict: Verdict = judge(ledger, ROWS[1:], AT_REST)
    outcome = Outcome(
        5, ledger.answers, ledger, verdict, AT_REST, 0, 1.0, 0.1, {"redis: kill -9": 1.6}, {"gateway": 2**26}
    )
    table = outcome.table()
    assert "VIOLATIONS\n  id-1 ('c1 n1') is not stored" in table
    assert "every promise was kept" not in table
    assert "  1.6  redis: kill -9" in table
    outcome.verdict = judge(ledger, ROWS, AT_REST)
    assert "every promise was kept" in outcome.table()
