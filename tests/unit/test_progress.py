"""How far a prediction is, as it crosses a child's connection and Redis: what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from inference_worker.children import wire
from inference_worker.children.wire import BadFrame
from shared.contract.errors import MalformedMessage
from shared.contract.hints import Hint, decode_hints
from shared.contract.progress import MOST_TEXT_CHARS, Progress, decode_progress, encode_progress, progress_of

ID = "01a20d70-d5e6-7383-90ab-972da9b28bd4"


@pytest.mark.parametrize("told", [Progress(), Progress(0.5), Progress(1.0, "a\x1e\x1f\n\u00fc", 7)])
def test_what_is_written_is_read(told: Progress) -> None:
    encoded = encode_progress(told)
    assert decode_progress(encoded) == told
    payload = b"id\x1fprogress\x1e" + ID.encode() + b"\x1f" + encoded + b"\x1e" + ID.encode() + b"\x1fno JSON"
    assert decode_hints(payload) == [Hint(ID, progress=told)]


def test_of_a_long_text_its_end_is_told_and_a_share_is_one() -> None:
    told = progress_of(1.5, "a" * MOST_TEXT_CHARS + "b\ud800")
    assert told.share == 1.0 and told.start == 2 and (told.text or "").endswith("ab?")
    assert progress_of(-1, None) == Progress(0.0)


@pytest.mark.parametrize(
    "told",
    [None, [], [1, 2], [2.0, None, 0], [True, None, 0], ["x", None, 0], [None, 1, 0], [None, "a", -1], [None, "a", 0.5]]
    + [[None, "a" * (MOST_TEXT_CHARS + 1), 0]],
)
def test_what_is_no_progress_is_refused(told: Any) -> None:
    head = {"progress": [0, *told]} if isinstance(told, list) else {"progress": told}
    with pytest.raises(BadFrame):
        wire.progress_in(head, 1)


def test_progress_is_of_an_item_of_the_batch_and_a_reply_is_none() -> None:
    assert wire.progress_in({"progress": [1, 0.5, None, 0]}, 2) == (1, Progress(0.5))
    assert wire.progress_in([], 2) is None and wire.progress_in({"answers": []}, 2) is None
    for place in (2, -1, True, "0"):
        with pytest.raises(BadFrame):
            wire.progress_in({"progress": [place, 0.5, None, 0]}, 2)
    with pytest.raises(MalformedMessage):
        decode_progress(b"[")
