"""What the chaos over containers counts as lost, double and wrong."""

from __future__ import annotations

import pytest

from tests.compose.load import Asked, Ledger, problems

ACCEPTED = {"id-2": Asked("sentiment-analysis", "POSITIVE"), "id-3": Asked("embeddings", None)}


def test_all_stored_once_is_fine_and_what_was_there_before_does_not_count() -> None:
    assert problems(ACCEPTED, {"id-1": 1, "id-2": 1, "id-3": 1}) == []


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ({"id-2": 1}, "id-3 is lost"),
        ({"id-2": 1, "id-3": 2}, "id-3 is in the history 2 times"),
        ({"id-2": 1, "id-3": 1, "id-4": 1}, "id-4 is in the history, and"),
    ],
)
def test_lost_and_double_are_found(history: dict[str, int], said: str) -> None:
    (only,) = problems(ACCEPTED, history)
    assert only.startswith(said)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"status": "succeeded", "result": {"label": "POSITIVE"}}, False),
        ({"status": "succeeded", "result": {"label": "NEGATIVE"}}, True),
        ({"status": "failed", "result": None}, True),
    ],
)
def test_an_answer_is_judged(body: dict[str, object], wrong: bool) -> None:
    ledger = Ledger()
    ledger.judge({"prediction_id": "id-2", **body}, ACCEPTED["id-2"])
    assert bool(ledger.wrong) == wrong
