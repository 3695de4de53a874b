"""The version of the software."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache  # it is read from a file
def software_version() -> str:
    """The version of the installed package."""
    try:
        return version("millstream")
    except PackageNotFoundError:
        return "unknown"
