"""One fault in one file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A file with one fault in it.

    Attributes:
        path: of the file, from the repository's root.
        line: where the fault begins, from 1.
        original, changed: the file's whole text, without and with the fault.
    """

    path: str
    line: int
    original: str
    changed: str

    @property
    def difference(self) -> tuple[str, str]:
        """The lines that go and those that come, without their indentation."""
        lines = difflib.ndiff(self.original.splitlines(), self.changed.splitlines())
        marked = [(line[0], line[2:].strip()) for line in lines if line[0] in "-+"]
        gone, new = ("\n".join(text for mark, text in marked if mark == wanted) for wanted in "-+")
        return gone, new

    def __str__(self) -> str:
        diff = difflib.unified_diff(self.original.splitlines(), self.changed.splitlines(), n=0, lineterm="")
        return "\n".join([f"{self.path}:{self.line}", *list(diff)[3:]])
