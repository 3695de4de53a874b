"""The judgement: what was accepted against what is stored and what is left behind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.ledger import Asked, Ledger, Told

RAISED = "ValueError: this model cannot read 'raise"
EXPIRED = "the deadline passed after "
GIVEN_UP = "given up after "


@dataclass(frozen=True, slots=True)
class Stored:
    """One row of `predictions`."""

    id: str
    model: str
    version: str
    text: str
    told: Told


@dataclass
class Left:
    """What the stores hold once everything has come to rest.

    Attributes:
        lengths: entries left, by stream.
        pending: entries handed out and not finished, by stream.
        states: keys `prediction:*` left.
        dead_consumers: consumers of processes that no longer run, by stream.
        dead_letters: (prediction id, reason) of each.
        requests_added: entries ever added to all request streams.
        results_added: entries ever added to the result stream.
        charged: requests that callers are charged for as waiting, by caller.
    """

    lengths: Mapping[str, int] = field(default_factory=dict)
    pending: Mapping[str, int] = field(default_factory=dict)
    states: Sequence[str] = ()
    dead_consumers: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Sequence[tuple[str, str]] = ()
    requests_added: int = 0
    results_added: int = 0
    charged: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Verdict:
    """What was found; each violation is a sentence."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    given_up: int = 0
    unannounced: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def violations(self) -> list[str]:
        """All of them."""
        found = [self.lost, self.duplicated, self.wrong, self.not_found, self.contradictions, self.surprises]
        return [each for group in (*found, self.left_behind) for each in group]


def judge(ledger: Ledger, rows: Sequence[Stored], left: Left) -> Verdict:
    """Compare what clients were told with what is there."""
    verdict = Verdict(
        not_found=[f"{each} was accepted, and then not found" for each in ledger.not_found],
        contradictions=list(ledger.contradictions),
        surprises=list(ledger.surprises),
        left_behind=_left_behind(left, rows),
    )
    stored = {row.id for row in rows}
    verdict.lost = [f"{id} ({ledger.accepted[id].text!r}) is not stored" for id in ledger.accepted if id not in stored]
    verdict.duplicated = _duplicated(rows, left)
    verdict.unannounced = len(stored - ledger.accepted.keys())
    for row in rows:
        verdict.statuses[row.told.status] += 1
        verdict.given_up += row.told.error.startswith(GIVEN_UP)
        asked = ledger.accepted.get(row.id) or ledger.sent.get(row.text)
        problem = _wrong(row, asked, ledger.told.get(row.id))
        if problem:
            verdict.wrong.append(f"{row.id}: {problem}")
    return verdict


def _duplicated(rows: Sequence[Stored], left: Left) -> list[str]:
    """Each text is asked for once, and each entry of a request stream ends in one result."""
    found = [f"id {each} is stored {n} times" for each, n in Counter(row.id for row in rows).items() if n > 1]
    texts = Counter(row.text for row in rows)
    found += [f"text {each!r} is stored {n} times" for each, n in texts.items() if n > 1]
    if left.results_added > left.requests_added:
        found.append(f"{left.requests_added} requests made {left.results_added} results")
    return found


def _wrong(row: Stored, asked: Asked | None, told: Told | None) -> str | None:
    if asked is None:
        return f"nobody asked for {row.text!r}"
    version = asked.version or row.version
    if (row.text, row.model, row.version) != (asked.text, asked.model, version):
        return f"stored as {row.text!r} for {row.model} {row.version}, asked as {asked}"
    if told is not None and told.status not in ("queued", "running") and told != row.told:
        return f"a client was told {told}, stored is {row.told}"
    return _unfit(row.told, asked)


def _unfit(told: Told, asked: Asked) -> str | None:
    """Why this end does not fit what was asked; None where it does."""
    if told.status == "succeeded":
        fits = not asked.raises and told.result == asked.answer()
    elif told.status == "failed":
        fits = told.error.startswith(GIVEN_UP) or (asked.raises and told.error.startswith(RAISED))
    else:
        fits = told.status == "expired" and asked.may_expire and told.error.startswith(EXPIRED)
    return None if fits else f"{asked} ended as {told}"


def _left_behind(left: Left, rows: Sequence[Stored]) -> list[str]:
    found = [f"{count} entries left in {stream}" for stream, count in left.lengths.items() if count]
    found += [f"{count} entries pending in {stream}" for stream, count in left.pending.items() if count]
    found += [
        f"{count} consumers of dead processes on {stream}" for stream, count in left.dead_consumers.items() if count
    ]
    found += [f"{caller} is charged for {count} requests that wait" for caller, count in left.charged.items() if count]
    if left.states:
        found.append(f"{len(left.states)} states left, such as {left.states[0]}")
    given_up = {row.id for row in rows if row.told.error.startswith(GIVEN_UP)}
    for prediction_id, reason in left.dead_letters:
        if reason != "max_deliveries" or prediction_id not in given_up:
            found.append(f"dead letter of {prediction_id} ({reason}) that nothing explains")
    return found


def explain(violations: Sequence[Any], most: int = 20) -> str:
    """The first violations, one a line."""
    lines = [f"  {each}" for each in violations[:most]]
    return "\n".join([*lines, f"  … and {len(violations) - most} more"] if len(violations) > most else lines)
