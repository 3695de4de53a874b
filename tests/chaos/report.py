"""The table at the end of a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.ledger import Ledger
from tests.chaos.verdict import Left, Verdict, explain


@dataclass
class Outcome:
    """A whole run.

    Attributes:
        restarts: processes started by the supervisor after one had ended.
        load_s: how long the load ran.
        rest_s: how long it took from the end of the load until nothing was in flight.
        recoveries: by what broke, the seconds until everything was ready and answered again.
        memory: the most bytes that a process of each module had.
    """

    seed: int
    faults: Counter[str]
    ledger: Ledger
    verdict: Verdict
    left: Left
    restarts: int
    load_s: float
    rest_s: float
    recoveries: Mapping[str, float]
    memory: Mapping[str, int]

    @property
    def accepted(self) -> int:
        """Predictions whose id a client was given."""
        return len(self.ledger.accepted)

    def table(self) -> str:
        """For people."""
        ledger, verdict, left = self.ledger, self.verdict, self.left
        lines = [f"seed {self.seed}", "", f"faults injected {sum(self.faults.values()):>42}"]
        lines += [f"  {kind:<50}{count:>6}" for kind, count in sorted(self.faults.items())]
        slowest = sorted(self.recoveries.items(), key=lambda each: -each[1])[:5]
        lines += ["back within, in seconds, the five slowest"]
        lines += [f"  {seconds:>5.1f}  {name}" for name, seconds in slowest]
        lines += ["memory at most, in MB"]
        lines += [f"  {module:<50}{used // 2**20:>6}" for module, used in self.memory.items()]
        lines += ["answers to clients"]
        lines += [f"  {kind:<50}{count:>6}" for kind, count in sorted(ledger.answers.items())]
        rows: list[tuple[str, object]] = [
            ("load ran (s)", round(self.load_s, 1)),
            ("then at rest after (s)", round(self.rest_s, 1)),
            ("services started anew", self.restarts),
            ("predictions asked for", len(ledger.sent)),
            ("accepted", self.accepted),
            ("not accepted (no answer, or 503)", len(ledger.sent) - self.accepted),
            ("stored", verdict.statuses.total()),
            ("  of these without an answer to a client", verdict.unannounced),
            ("  succeeded", verdict.statuses["succeeded"]),
            ("  failed", verdict.statuses["failed"]),
            ("    of these after MAX_DELIVERIES", verdict.given_up),
            ("  expired", verdict.statuses["expired"]),
            ("published twice, stored once", left.requests_added - verdict.statuses.total()),
            ("LOST", len(verdict.lost)),
            ("DUPLICATED", len(verdict.duplicated)),
            ("WRONG", len(verdict.wrong)),
            ("404 FOR AN ACCEPTED ID", len(verdict.not_found)),
            ("CONTRADICTIONS", len(verdict.contradictions)),
            ("SURPRISES (answers, crashes)", len(verdict.surprises)),
            ("LEFT BEHIND", len(verdict.left_behind)),
        ]
        lines += [f"{name:<50}{value:>8}" for name, value in rows]
        violations = verdict.violations()
        lines += ["", "every promise was kept" if not violations else f"VIOLATIONS\n{explain(violations)}"]
        return "\n".join(lines)
