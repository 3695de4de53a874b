"""Whether a simulated run is what autoscaling is for: out where there is work, in where there is none, no flapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.hpa import trace
from tests.hpa.simulation import Course, Outcome

DRAINED_WITHIN_S = 240.0  # of the beginning of the burst, which goes on for longer
DRAINED_SHARE = 0.1  # of the highest backlog of the burst
MOST_TURNS = 10  # the day, the burst and the stop are six
MOST_REFUSED = 0.02


def problems(outcome: Outcome) -> Iterator[str]:
    """What is wrong with a run."""
    for name, course in outcome.courses.items():
        yield from (f"{name}: {problem}" for problem in _of(course, outcome.at_s))
    share = outcome.refused / outcome.offered
    if share > MOST_REFUSED:
        yield f"{share:.1%} of all requests were refused; at most {MOST_REFUSED:.0%} may be"


def turns(replicas: Sequence[int]) -> int:
    """How often it changes between scaling out and scaling in."""
    steps = [after - before for before, after in zip(replicas, replicas[1:], strict=False) if after != before]
    return sum((one > 0) != (other > 0) for one, other in zip(steps, steps[1:], strict=False))


def drain_s(course: Course, at_s: Sequence[float]) -> float:
    """How long after the burst's beginning the backlog that it made is down again: below a tenth of its highest."""
    seen = [(at, backlog) for at, backlog in zip(at_s, course.backlog, strict=True) if at >= trace.BURST[0]]
    top, highest_at = max((backlog, -at) for at, backlog in seen if at < trace.BURST[1])
    for at, backlog in seen:
        if at >= -highest_at and backlog <= max(1.0, DRAINED_SHARE * top):
            return at - trace.BURST[0]
    return float("inf")


def _of(course: Course, at_s: Sequence[float]) -> Iterator[str]:
    hpa = course.hpa
    if max(course.replicas) == hpa.minimum:
        yield f"it never scaled out of its {hpa.minimum}"
    if course.replicas[-1] != hpa.minimum:
        yield f"it ended at {course.replicas[-1]} replicas and not at its {hpa.minimum}"
    if turns(course.replicas) > MOST_TURNS:
        yield f"it turned {turns(course.replicas)} times; at most {MOST_TURNS} are allowed"
    took = drain_s(course, at_s)
    if took > DRAINED_WITHIN_S:
        yield f"its backlog was down {took:.0f} s after the burst began; it has {DRAINED_WITHIN_S:.0f} s"
