"""The queues of a model version: one for each priority of its requests, and each a stream of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

_OF_BATCH = "/batch"  # no version has a slash in its name


class Priority(StrEnum):
    """Who is served first: somebody who waits, or work that may take its time."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Queue(NamedTuple):
    """One of the two queues of a model version."""

    model: str
    version: str
    priority: Priority = Priority.INTERACTIVE

    @property
    def label(self) -> str:
        """`model:version`, or `model:version/batch`."""
        return f"{self.version_label}{_OF_BATCH if self.priority == Priority.BATCH else ''}"

    @property
    def version_label(self) -> str:
        """`model:version` in both."""
        return f"{self.model}:{self.version}"

    @classmethod
    def of(cls, label: str) -> Queue:
        """The queue with this label."""
        return _queue_of(label)


@lru_cache(1024)
def _queue_of(label: str) -> Queue:
    """Of a label there is one, since thousands of predictions may be in it."""
    version = label.removesuffix(_OF_BATCH)
    model, _, name = version.partition(":")
    return Queue(model, name, Priority.INTERACTIVE if version == label else Priority.BATCH)


def queues_of(model: str, version: str) -> Sequence[Queue]:
    """Both queues of a version."""
    return [Queue(model, version, priority) for priority in Priority]
