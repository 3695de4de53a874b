"""Who gets which version. Pure, so that every gateway decides alike.

A subject is whoever must always meet the same version: the end user or session that a request names, or else the
caller, or else (nobody is known) the request alone. Its bucket is SHA-256(experiment id, 0x1f, subject) mod 10,000, and
each arm has a range of buckets as wide as its weight: nothing is remembered, and the next experiment draws anew.
"""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

BUCKETS = 10_000
MAX_ARMS = 10
MAX_WEIGHT = 1000  # the smallest of ten arms still has a bucket
SUBJECT_MAX_CHARS = 200  # of a request


class Arm(NamedTuple):
    """A version that takes part, with its share of the weights' sum."""

    name: str
    version: str
    weight: int


class Shadow(NamedTuple):
    """A version that is given copies of a share (0 to 1) of the requests; nobody sees its answers."""

    version: str
    share: float


@dataclass(frozen=True)
class Experiment:
    """An experiment with one model.

    Attributes:
        id: a UUID.
        arms: 1 to `MAX_ARMS`, with different names; the first is the control.
    """

    id: str
    model: str
    arms: tuple[Arm, ...]
    shadow: Shadow | None = None

    @cached_property
    def _ends(self) -> list[int]:
        """Where the range of buckets of each arm ends."""
        weights = list(accumulate(arm.weight for arm in self.arms))
        return [BUCKETS * weight // weights[-1] for weight in weights]

    def under(self, experiment_id: str) -> Experiment:
        """The same under another id."""
        return replace(self, id=experiment_id)

    @property
    def shares(self) -> list[float]:
        """The share of subjects that each arm has."""
        return [(end - start) / BUCKETS for start, end in pairwise([0, *self._ends])]

    def arm_of(self, subject: str) -> Arm:
        """The arm of a subject."""
        return self.arms[bisect_right(self._ends, bucket_of(self.id, subject))]

    def copies(self, prediction_id: str) -> bool:
        """Whether the shadow is given a copy of a request: drawn apart from the arms, for each request anew."""
        if self.shadow is None:
            return False
        return bucket_of(f"{self.id}\x1fshadow", prediction_id) < round(BUCKETS * self.shadow.share)


def bucket_of(experiment_id: str, subject: str) -> int:
    """The bucket of a subject, from 0 to 9,999."""
    digest = hashlib.sha256(f"{experiment_id}\x1f{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def subject_id(subject: str) -> str:
    """What is stored of the `subject` of a request: `s_` and 26 characters of base32 of a SHA-256.

    It hides the subject from readers of the table, but not from who has a list of all possible subjects.
    """
    digest = hashlib.sha256(f"subject\x1f{subject}".encode()).digest()
    return f"s_{base64.b32encode(digest).decode()[:26].lower()}"
