"""A quiet connection is kept, a dead one is given up."""

from __future__ import annotations

import pytest

from shared.contract.errors import StoreUnavailable
from shared.streams.silence import LONGEST_S, Silence


def test_a_quiet_connection_is_asked_once_and_kept_as_long_as_it_answers() -> None:
    silence = Silence(0.25)
    for _ in range(100):
        assert [silence.goes_on(0.25) for _ in range(6)] == [False, False, False, False, True, False]
        silence.broken()


def test_one_that_does_not_answer_is_given_up() -> None:
    silence = Silence(0.25)
    lasted = 0.0
    with pytest.raises(StoreUnavailable, match="no sign of life for 4 s"):
        while True:
            silence.goes_on(0.25)
            lasted += 0.25
    assert lasted == LONGEST_S


def test_looks_that_end_at_once_are_no_silence() -> None:
    with pytest.raises(StoreUnavailable, match="broken"):
        Silence(0.25).goes_on(0.0)
