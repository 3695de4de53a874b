"""Schemas of versions: bounded in a heartbeat, and read whatever it holds."""

from __future__ import annotations

import pytest

from shared.contract.schemas import MOST_BYTES, decode_schemas, encode_schemas, schemas_of


def test_what_does_not_fit_is_left_out() -> None:
    large = {"input": {"enum": ["x" * (MOST_BYTES // 2)]}}
    assert set(decode_schemas(encode_schemas({"a:1": large, "b:1": large, "c:1": {}}))) == {"a:1"}


@pytest.mark.parametrize("text", [None, b"", b"[]", b"{", b'{"a:1": 1}', b'{"a:1": null}'])
def test_what_cannot_be_read_is_nothing(text: bytes | None) -> None:
    assert decode_schemas(text) == {}


def test_only_what_is_known_is_read() -> None:
    assert decode_schemas(b'{"a:1": {"input": {}, "more": 1}}') == {"a:1": {"input": {}}}


def test_what_workers_tell_of_a_built_in_task_is_added() -> None:
    assert schemas_of("summarization", {"output": {}, "input": {"type": "object"}}, ())["input"] == {"type": "object"}
    assert schemas_of("a:B", {}, ["k"]) == {}
