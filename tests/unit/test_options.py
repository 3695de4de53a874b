"""Which options go with which task."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.contract.options import PredictOptions, option_error

LABELS = ["sport", "politics"]


@pytest.mark.parametrize(
    ("task", "options", "wrong"),
    [
        ("zero-shot-classification", {"labels": LABELS}, None),
        ("zero-shot-classification", None, "labels"),
        ("zero-shot-classification", {}, "labels"),
        ("zero-shot-classification", {"labels": LABELS, "max_length": 9}, "max_length"),
        ("summarization", None, None),
        ("summarization", {}, None),
        ("summarization", {"max_length": 100}, None),
        ("summarization", {"labels": LABELS}, "labels"),
        ("text-classification", None, None),
        ("text-classification", {}, None),
        ("text-classification", {"labels": LABELS}, "labels"),
        ("feature-extraction", {"max_length": 9}, "max_length"),
        ("my.module:Task", {"max_length": 9, "labels": LABELS}, None),
        ("my.module:Task", None, None),
    ],
)
def test_options_fit_the_task_or_the_first_that_does_not_is_named(
    task: str, options: dict[str, object] | None, wrong: str | None
) -> None:
    error = option_error(task, None if options is None else PredictOptions.model_validate(options))
    assert (error and error[0]) == wrong
    assert error is None or task in error[1]


@pytest.mark.parametrize(
    "options",
    [
        {"labels": ["one"]},
        {"labels": ["x"] * 65},
        {"labels": ["", "x"]},
        {"labels": ["x", "y" * 101]},
        {"labels": ["x", "a\0b"]},
        {"labels": ["x", "a\n\0"]},
        {"max_length": 7},
        {"max_length": 513},
        {"max_length": "long"},
        {"colour": "red"},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PredictOptions.model_validate(options)


def test_labels_may_hold_anything_else() -> None:
    labels = ["ein\nZeilenumbruch", "👋", "x" * 100]
    assert PredictOptions.model_validate({"labels": labels}).labels == labels
