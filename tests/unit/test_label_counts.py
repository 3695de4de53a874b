"""Labels are counted as far as they are the model's own, and their number is bounded."""

from __future__ import annotations

import itertools

import pytest

from inference_worker.label_counts import MOST_LABELS, LabelCounts
from shared.contract.messages import Outcome, PredictionRequest, Status
from shared.streams.request_stream import Completed, Delivery
from shared.telemetry.metrics import PREDICTIONS_BY_LABEL

_numbers = itertools.count()
REQUEST = PredictionRequest("id", "m", "1", "text", {})


@pytest.fixture
def model() -> str:
    """The name of a model that no other test has."""
    return f"labelled-{next(_numbers)}"


def counted(model: str) -> dict[str, float]:
    """What was counted of a model."""
    (family,) = PREDICTIONS_BY_LABEL.collect()
    return {each.labels["label"]: each.value for each in family.samples if each.labels["model"] == model}


def count(counts: LabelCounts, *answers: tuple[str | None, Status, bool]) -> None:
    """Count answers: its label if it has one, how it ended, and whether that stands."""
    finished = [Completed(Delivery("1-0", {}), REQUEST, Outcome(status)) for _, status, _ in answers]
    counts.count([label for label, _, _ in answers], finished, [stands for _, _, stands in answers])


def test_labels_are_there_from_the_start(model: str) -> None:
    LabelCounts(model, "1", ["GOOD", "BAD"])
    assert counted(model) == {"GOOD": 0, "BAD": 0}


def test_what_succeeded_and_stands_is_counted(model: str) -> None:
    counts = LabelCounts(model, "1", ["GOOD", "BAD"])
    ok, bad = Status.SUCCEEDED, Status.FAILED
    count(counts, ("GOOD", ok, True), ("GOOD", ok, True), ("BAD", ok, True), ("BAD", ok, False))
    count(counts, (None, bad, True), ("BAD", bad, True))
    assert counted(model) == {"GOOD": 2, "BAD": 1}


def test_a_label_of_no_list_and_those_beyond_the_limit_are_other(model: str) -> None:
    labels = [f"label-{number}" for number in range(MOST_LABELS + 10)]
    counts = LabelCounts(model, "1", labels)
    hostile = [*labels, *(f"made-up-{number}" for number in range(1000)), None, ""]
    count(counts, *((label, Status.SUCCEEDED, True) for label in hostile))
    assert len(counted(model)) == MOST_LABELS + 1
    assert counted(model)["other"] == len(hostile) - MOST_LABELS


def test_a_model_without_labels_counts_none(model: str) -> None:
    count(LabelCounts(model, "1", []), ("from the client", Status.SUCCEEDED, True))
    assert counted(model) == {}
