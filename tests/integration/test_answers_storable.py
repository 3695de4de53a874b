"""Whatever a child lets through can be stored: what Postgres refuses was told to the client as succeeded before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_worker.children.answers import answering
from inference_worker.children.guard import BadOutput
from inference_worker.tasks.protocol import Output
from scripts.stack.postgres import PostgresServer

ANSWER = answering(100_000, with_labels=False)
ODD = st.sampled_from(["\0", "\\\0", "\\u0000", "\ud800", "\udfff\ud800", "\uffff", "\U0010ffff", "\\", '"', "\x1f"])
TEXTS = st.lists(ODD | st.text(st.characters(), max_size=5), max_size=4).map("".join)
FRAGMENTS = st.binary(max_size=6) | st.sampled_from(
    [b"1e400", b"-1e309", b'"\\u0000"', b'"\\ud800"', b"[" * 999 + b"]" * 999]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.floats(width=32).map(np.float32)
    | st.lists(st.floats(), max_size=3).map(np.array)
    | FRAGMENTS.map(orjson.Fragment)
)
VALUES = st.recursive(LEAVES, lambda each: st.lists(each, max_size=4) | st.dictionaries(TEXTS, each, max_size=4))


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_server.url, autocommit=True) as made:
        yield made


@settings(max_examples=150, deadline=None)
@given(result=st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_leaves_a_child_is_jsonb(connection: psycopg.Connection[Any], result: dict[str, Any]) -> None:
    try:
        answer = ANSWER(Output(result))
    except BadOutput:
        return
    assert isinstance(orjson.loads(answer.result), dict)
    row = connection.execute("SELECT %s::text::jsonb::text", [answer.result.decode()]).fetchone()
    assert row is not None and isinstance(orjson.loads(row[0]), dict)


@pytest.mark.parametrize("depth", [1, 100, 250])
def test_what_is_deep_can_be_stored_too(connection: psycopg.Connection[Any], depth: int) -> None:
    result = orjson.loads(b'{"a":' * depth + b"1" + b"}" * depth)
    text = ANSWER(Output(result)).result.decode()
    assert connection.execute("SELECT %s::text::jsonb IS NOT NULL", [text]).fetchone() == (True,)
