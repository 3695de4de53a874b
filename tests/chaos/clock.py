"""A process's wall clock that can jump: by libfaketime, where it is installed (Debian's package `libfaketime`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

JUMP_S = 20.0  # how far the suite moves a clock
_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


def library() -> Path | None:
    """libfaketime; None if it is not installed."""
    return next((found for place in _PLACES for found in Path("/").glob(place.lstrip("/"))), None)


class Clock:
    """The wall clock of one process; its monotonic clock goes on as it is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """With which the process is started."""
        found = library()
        if found is None:
            return {}
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: float) -> None:
        """Set it ahead of the true time, or back."""
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{seconds:+g}s\n", encoding="ascii")
        scratch.replace(self._file)
