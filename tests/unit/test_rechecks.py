"""Whose turn it is to be looked at: what was not for the longest time, so many at a time, none too soon."""

from __future__ import annotations

import pytest

from gateway.core import rechecks
from gateway.core.rechecks import Rechecks


def test_none_is_looked_at_before_its_time_nor_after_it_has_gone() -> None:
    turns = Rechecks(4.0)
    for at, name in enumerate("abc"):
        turns.add(name, float(at))
    assert turns.due(2.9) == []
    assert turns.due(4.0) == ["a", "b"]
    turns.add("a", 4.5)  # somebody else awaits it, too
    turns.discard("c")
    turns.discard("c")
    assert turns.due(6.9) == [] and turns.due(7.0) == ["a", "b"]


def test_of_more_than_fit_into_a_look_all_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rechecks, "MOST_AT_ONCE", 2)
    turns = Rechecks(1.0)
    for name in "abcde":
        turns.add(name, 0.0)
    looks = ["".join(turns.due(now)) for now in (1.0, 2.0, 3.0, 4.0)]
    assert looks == ["ab", "cd", "ea", "bc"]
    turns.add("new", 4.5)
    assert "".join(turns.due(5.0)) == "de" and turns.due(6.0) == ["a", "b"]
