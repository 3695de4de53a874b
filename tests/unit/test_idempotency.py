"""The Idempotency-Key header."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.request_schemas import PredictRequest
from gateway.http.idempotency import PATTERN, fingerprint, key_of
from gateway.http.problems import ProblemError


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (None, ""),
        ("8e03978e-40d5", "8e03978e-40d5"),
        ('"8e03978e-40d5"', "8e03978e-40d5"),
        (r'"a\"b\\c"', 'a"b\\c'),
        (" spaced ", "spaced"),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_key_is_read_quoted_or_bare(header: str | None, key: str) -> None:
    assert key_of(header) == key


@pytest.mark.parametrize("header", ["", '""', " ", "a b", "schlüssel", "x" * 256, "tab\tkey"])
def test_a_key_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(ProblemError, match="Idempotency-Key: must be 1 to 255") as error:
        key_of(header)
    assert error.value.status == 422


@given(header=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=5))
def test_the_documented_pattern_takes_what_is_taken(header: str) -> None:
    try:
        taken = bool(key_of(header))
    except ProblemError:
        taken = False
    documented = re.search(PATTERN, header.strip()) is not None
    assert taken or not documented
    assert documented or not taken or '"' in header  # quotes and spaces within: taken, and not needed


def test_a_fingerprint_tells_requests_apart_by_what_they_ask() -> None:
    body = PredictRequest(model="m", text="hello")
    same = PredictRequest.model_validate_json(b'{ "text": "hello", "model": "m" }')
    assert fingerprint("/p", body) == fingerprint("/p", same)
    others = [
        fingerprint("/q", body),
        fingerprint("/p", PredictRequest(model="m", text="hello!")),
        fingerprint("/p", PredictRequest(model="m", text="hello", version="1")),
    ]
    assert len({fingerprint("/p", body), *others}) == 4
