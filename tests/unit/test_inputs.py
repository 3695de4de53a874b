"""Inputs of any JSON: what is a text, what is refused and where, and how a refusal travels."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.inputs import (
    MOST_LEVELS,
    UnfitInput,
    encode_input,
    normal,
    read_refusal,
    refusal_of,
    size_of,
    strings_of,
    text_of,
    with_strings,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ({"text": "a"}, "a"), ({"text": "a", "b": 1}, None), ({"text": 1}, None), (["a"], None), (1, None)],
)
def test_what_is_a_text(value: Any, text: str | None) -> None:
    assert text_of(value) == text
    assert normal(value) == (value if text is None else text)


@given(JSON.filter(lambda value: value is not None and value != {}))
def test_what_json_holds_is_encoded_as_it_is(value: Any) -> None:
    assert orjson.loads(encode_input(value)) == value


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        (None, (), "must not be empty"),
        ({}, (), "must not be empty"),
        ({"a": [1, "x\0y"]}, ("a", 1), "NUL"),
        ({"a\0b": 1}, ("a\0b",), "NUL"),
        ({"a": [{"b": "\ud800"}]}, ("a", 0, "b"), "lone surrogate"),
        ({"\ud800": 1}, ("?",), "lone surrogate"),
        ([1.5, float("nan")], (1,), "finite"),
        ([float("-inf")], (0,), "finite"),
        ({"n": 2**64}, ("n",), "at most 64 bits"),
        ({"n": -(2**63) - 1}, ("n",), "at most 64 bits"),
        (nested(MOST_LEVELS + 1), (0, 0, 0), f"nested more than {MOST_LEVELS} levels"),
        (nested(100_000), (0, 0, 0), "nested more than"),
    ],
)
def test_what_it_does_not_hold_is_told_with_its_place(value: Any, path: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(UnfitInput, match=message) as error:
        encode_input(value)
    assert error.value.path == path


def test_the_deepest_is_taken() -> None:
    assert orjson.loads(encode_input(nested(MOST_LEVELS))) == nested(MOST_LEVELS)


def test_sizes_are_characters_of_a_text_and_bytes_of_json() -> None:
    assert (size_of("äö"), size_of(["äö"]), size_of({"text": "a"})) == (2, 8, 12)


@given(JSON)
def test_all_strings_but_names_are_replaced(value: Any) -> None:
    texts = {text: f"<{text}>" for text in strings_of(value)}
    changed = with_strings(value, texts)
    assert strings_of(changed) == set(texts.values())
    assert with_strings(changed, {new: old for old, new in texts.items()}) == value


@pytest.mark.parametrize(
    ("path", "told", "read"),
    [
        ((), "", ()),
        (("input",), " at input", ("input",)),
        (("input", "petals", 2), " at input.petals.2", ("input", "petals", 2)),
        ((0,), " at 0", (0,)),
        (("a b", 1), "", ()),  # a name that could be taken for something else ends the path
        (("a", "x: y", 1), " at a", ("a",)),
    ],
)
def test_a_refusal_travels_as_text(path: Any, told: str, read: Any) -> None:
    error = refusal_of("must be: positive", path)
    assert error == f"invalid_input{told}: must be: positive"
    assert read_refusal(error) == (read, "must be: positive")


@pytest.mark.parametrize("error", ["", "ValueError: invalid_input: x", "invalid_input", "invalid_inputs: x"])
def test_other_errors_are_no_refusals(error: str) -> None:
    assert read_refusal(error) is None
