"""A lane counts as moving while its model works, and not while a pass that has ended cannot be recorded."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import pytest

from inference_worker import movement
from inference_worker.movement import Movement
from shared.service.liveness import Liveness

STALL_TIMEOUT_S = 30.0


class Clock:
    """The time as a lane sees it, and what it wants to be called later; both are moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.timers: list[Mock] = []

    def monotonic(self) -> float:
        return self.now

    def get_running_loop(self) -> Clock:
        return self

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Mock:
        self.later.append((delay_s, call))
        self.timers.append(Mock())
        return self.timers[-1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(movement, "time", made)
    monkeypatch.setattr(movement, "asyncio", made)
    return made


@pytest.fixture
def liveness(clock: Clock) -> Liveness:
    return Liveness(STALL_TIMEOUT_S, clock.monotonic)


@pytest.mark.parametrize(("stall_timeout_s", "reports_every_s"), [(STALL_TIMEOUT_S, 1.0), (1.5, 0.5)])
def test_a_model_that_works_moves_its_lane_again_and_again(
    clock: Clock, liveness: Liveness, stall_timeout_s: float, reports_every_s: float
) -> None:
    with Movement(liveness, "lane", stall_timeout_s).computing():
        assert liveness.turns == {"lane": 1}
        for turn in (2, 3):
            delay_s, report = clock.later[-1]
            assert delay_s == reports_every_s
            report()
            assert liveness.turns == {"lane": turn} and len(clock.later) == turn
        clock.timers[-1].cancel.assert_not_called()
    assert liveness.turns == {"lane": 4}
    clock.timers[-1].cancel.assert_called_once()


def test_a_model_that_raises_is_not_reported_any_more(clock: Clock, liveness: Liveness) -> None:
    with pytest.raises(ValueError, match="bad text"), Movement(liveness, "lane", STALL_TIMEOUT_S).computing():
        raise ValueError("bad text")
    clock.timers[-1].cancel.assert_called_once()


def test_a_lane_does_not_move_while_a_pass_cannot_be_recorded(clock: Clock, liveness: Liveness) -> None:
    lane = Movement(liveness, "lane", STALL_TIMEOUT_S)

    def moves() -> bool:
        before = liveness.turns["lane"]
        lane.moved()
        return liveness.turns["lane"] > before

    assert moves()
    with lane.recording():
        clock.now += 0.9
        assert moves()  # a call of Redis takes its time
        with lane.recording():  # another pass, which began later, hides nothing
            clock.now += 0.1
            assert not moves()
        assert not moves()
    assert moves()
    with pytest.raises(ValueError, match="a fault"), lane.recording():
        clock.now += 2
        raise ValueError("a fault")
    assert moves()


def test_a_lane_that_has_ended_is_not_watched(clock: Clock, liveness: Liveness) -> None:
    lane = Movement(liveness, "lane", STALL_TIMEOUT_S)
    lane.moved()
    clock.now += 2 * STALL_TIMEOUT_S
    assert list(liveness.stalled()) == ["lane"]
    lane.ended()
    assert not liveness.stalled()
