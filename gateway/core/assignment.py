"""What the core asks of experiments: which version an order is for, if it names none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gateway.core.order import Order
from shared.streams.publishing import NewRequest


class Assignment(NamedTuple):
    """For whom an order is, and what an experiment has decided about it.

    Attributes:
        subject_id: opaque; '' if there is nothing to note.
        version: None for what the order says.
        experiment_id, arm: '' if no experiment has decided.
    """

    subject_id: str = ""
    version: str | None = None
    experiment_id: str = ""
    arm: str = ""

    def noted(self, requests: Sequence[NewRequest]) -> Sequence[NewRequest]:
        """The requests of the order, with what was decided."""
        if not self.subject_id:  # for speed: most are as they are
            return requests
        return [
            each._replace(experiment_id=self.experiment_id, arm=self.arm, subject_id=self.subject_id)
            for each in requests
        ]


class Experiments(Protocol):
    """The experiments that run."""

    def assign(self, order: Order) -> Assignment:
        """Decide about an order."""
        ...

    def accepted(self, order: Order, assigned: Assignment, requests: Sequence[NewRequest]) -> None:
        """Told when the requests of an order have been published."""
        ...


class NoExperiments:
    """None run."""

    def assign(self, order: Order) -> Assignment:
        """What the order says."""
        return Assignment()

    def accepted(self, order: Order, assigned: Assignment, requests: Sequence[NewRequest]) -> None:
        """Nothing to do."""
