"""Which options go with which task."""

from __future__ import annotations

import importlib
import math
from operator import attrgetter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidOrder
from gateway.core.intake import _options
from gateway.core.order import Order
from shared.contract.catalogue import InputLimits, ServedVersion, Version
from shared.contract.options import MAX_CUSTOM_BYTES, OptionErrors, encode_options
from shared.contract.tasks import TASKS

LABELS = ["sport", "politics"]
CUSTOM = "my.module:Task"


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
        (CUSTOM, {"max_length": 9, "labels": LABELS}, None),
        (CUSTOM, {"temperature": 0.5}, "temperature"),
        (CUSTOM, None, None),
    ],
)
def test_options_fit_the_task_or_the_first_that_does_not_is_named(
    task: str, options: dict[str, object] | None, wrong: str | None
) -> None:
    if wrong is None:
        assert orjson.loads(encode_options(task, options)) == (options or {})
        return
    with pytest.raises(OptionErrors, match=task) as caught:
        encode_options(task, options)
    assert [place for place, _ in caught.value.errors] == [(wrong,)]


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("zero-shot-classification", {"labels": []}),
        ("zero-shot-classification", {"labels": ["x", "y"], "hypothesis_template": "no place"}),
        ("zero-shot-classification", {"labels": ["x", "y"], "hypothesis_template": "{} and {}"}),
        ("zero-shot-classification", {"labels": ["x"] * 65}),
        ("zero-shot-classification", {"labels": ["", "x"]}),
        ("zero-shot-classification", {"labels": ["x", "y" * 101]}),
        ("zero-shot-classification", {"labels": ["x", "a\0b"]}),
        ("zero-shot-classification", {"labels": ["x", "a\n\0"]}),
        ("zero-shot-classification", {"labels": ["x", "\ud800"]}),
        ("summarization", {"max_length": 7}),
        ("summarization", {"max_length": 513}),
        ("summarization", {"max_length": "long"}),
        ("summarization", {"colour": "red"}),
        ("summarization", {"\ud800": "red"}),
    ],
)
def test_options_out_of_range_are_refused_in_words_that_can_be_sent(task: str, options: dict[str, object]) -> None:
    with pytest.raises(OptionErrors) as caught:
        encode_options(task, options)
    assert orjson.dumps(caught.value.errors)


def test_labels_may_hold_anything_else() -> None:
    labels = ["ein\nZeilenumbruch", "👋", "x" * 100]
    assert orjson.loads(encode_options("zero-shot-classification", {"labels": labels})) == {"labels": labels}


# --- a custom task's own -------------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(value=json_values)
def test_a_custom_task_takes_any_json_for_the_options_that_it_names(value: object) -> None:
    assert orjson.loads(encode_options(CUSTOM, {"style": value}, ["style"])) == {"style": value}


@pytest.mark.parametrize(
    "value",
    [
        "a\0b",
        "\\\0",
        ["deep", {"er": "\0"}],
        {"\0": 1},
        "\ud800",
        {"\udfff": 1},
        nested(1000),
        float("nan"),
        -math.inf,
        "x" * MAX_CUSTOM_BYTES,
    ],
    ids=[
        "NUL",
        "NUL after a backslash",
        "NUL below",
        "NUL in a name",
        "surrogate",
        "name",
        "depth",
        "NaN",
        "infinity",
        "size",
    ],
)
def test_what_cannot_be_kept_is_refused_whatever_the_task(value: object) -> None:
    with pytest.raises(OptionErrors, match="options") as caught:
        encode_options(CUSTOM, {"style": value}, ["style"])
    assert orjson.dumps(caught.value.errors)


def test_a_backslash_before_the_letters_u0000_is_no_nul() -> None:
    assert orjson.loads(encode_options(CUSTOM, {"style": r"\u0000"}, ["style"])) == {"style": r"\u0000"}


@pytest.mark.parametrize("name", ["colour", "\ud800", "x" * 10_000])
def test_an_option_that_a_custom_task_does_not_name_is_refused(name: str) -> None:
    with pytest.raises(OptionErrors, match="has no option") as caught:
        encode_options(CUSTOM, {name: 1}, ["style"])
    assert len(orjson.dumps(caught.value.errors)) < 1000


# --- the register --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_be_loaded_by_the_name_in_the_register(name: str) -> None:
    module, _, loader = TASKS[name].loader.partition(":")
    assert callable(attrgetter(loader)(importlib.import_module(module)))


@pytest.mark.parametrize("value", ["x", [], ["a"] * 1000, None, {"deep": 1}])
@pytest.mark.parametrize("name", ["labels", "max_length"])
def test_an_option_of_another_task_is_refused_whatever_its_value(name: str, value: object) -> None:
    served = ServedVersion(model="sentiment", task="text-classification", version=Version(version="1", artifact="none"))
    order = Order("sentiment", None, [], {name: value}, ("body", "options"), 0, 1000)
    with pytest.raises(InvalidOrder) as caught:
        _options(served, order)
    assert caught.value.errors == [(("body", "options", name), f"a text-classification model has no option {name!r}")]


def test_a_version_bounds_the_labels_of_its_own_task() -> None:
    version = Version(version="1", artifact="none", limits=InputLimits(labels=2))
    order = Order("topics", None, [], {"labels": ["a", "b", "c"]}, ("body", "options"), 0, 1000)
    with pytest.raises(InvalidOrder, match="must have at most 2 labels, not 3"):
        _options(ServedVersion(model="topics", task="zero-shot-classification", version=version), order)
