"""What clients were told. Pure: it only writes down, and notices where one answer contradicts another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FINISHED = ("succeeded", "failed", "expired")


@dataclass(frozen=True, slots=True)
class Asked:
    """One prediction that a client asked for; its text occurs once in a run.

    Attributes:
        version: empty if the experiment is to choose it.
        may_expire: it was sent with a deadline so short that it may pass.
    """

    text: str
    model: str
    version: str
    may_expire: bool = False

    @property
    def raises(self) -> bool:
        """Whether the model raises on it."""
        return self.model == "echo" and self.text.startswith("raise")

    def answer(self) -> Mapping[str, Any]:
        """The one right result."""
        if self.model == "noop":
            return {"label": "POSITIVE", "scores": {"POSITIVE": 0.9, "NEGATIVE": 0.1}}
        return {"echo": self.text, "reversed": self.text[::-1]}


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer said about a prediction."""

    status: str
    result: Mapping[str, Any] | None = None
    error: str = ""


@dataclass
class Ledger:
    """Everything sent, what was accepted, and what was said about it.

    Attributes:
        sent: by text, whether accepted or not: a request may have arrived though its answer did not.
        accepted: by prediction id: a client was given the id.
        answers: how many answers of each kind clients got.
        not_found: accepted ids that a gateway said not to know.
        contradictions: answers that cannot both be true.
        surprises: answers that no fault excuses.
    """

    sent: dict[str, Asked] = field(default_factory=dict)
    accepted: dict[str, Asked] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    not_found: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    def send(self, asked: Asked) -> None:
        """It goes out."""
        self.sent[asked.text] = asked

    def accept(self, prediction_id: str, asked: Asked) -> None:
        """A client was given this id for it."""
        before = self.accepted.setdefault(prediction_id, asked)
        if before != asked:
            self.contradictions.append(f"{prediction_id} was given for {before.text!r} and for {asked.text!r}")

    def tell(self, prediction_id: str, told: Told) -> None:
        """A client was told this about an id; what is finished stays as it was."""
        before = self.told.get(prediction_id)
        if before is not None and before.status in FINISHED:
            if told != before:
                self.contradictions.append(f"{prediction_id} was {before}, then {told}")
            return
        self.told[prediction_id] = told
