"""Which predictions are to be erased. Pure."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.contract.fields import Fields
from shared.contract.ids import is_id


class Erasure(NamedTuple):
    """What an administrator has asked to have erased.

    Attributes:
        below: only predictions with lower ids, that is, accepted before; copies for a shadow go with their originals.
        principal: only what this caller has asked for; empty for all callers.
        subject_id: only what was asked for on behalf of this subject; empty for all.
    """

    id: UUID
    below: UUID
    principal: str = ""
    subject_id: str = ""

    def covers(self, entry: str, fields: Fields) -> bool:
        """Whether an entry of a stream is about one of these predictions.

        An entry whose prediction id cannot be read counts as accepted when it was added.

        Args:
            entry: its id, which begins with the time at which it was added, in ms since the epoch.
        """
        owner = fields.get(b"principal") or fields.get(b"shadow_for", b"")
        subject_id = fields.get(b"subject_id", b"")
        for wanted, found in ((self.principal, owner), (self.subject_id, subject_id)):
            if wanted and found != wanted.encode():
                return False
        prediction_id = (fields.get(b"shadow_of") or fields.get(b"id", b"")).decode(errors="replace")
        if is_id(prediction_id):
            return UUID(prediction_id) < self.below
        return int(entry.partition("-")[0]) < self.below.int >> 80
