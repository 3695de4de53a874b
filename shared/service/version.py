"""The version of the software."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def software_version() -> str:
    """The version of the installed package."""
    try:
        return version("millstream")
    except PackageNotFoundError:
        return "unknown"
