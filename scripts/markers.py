"""Text that is made and stands in a document between two markers."""

from __future__ import annotations


def between(document: str, begin: str, made: str, end: str) -> str:
    """The document with what was made between its markers.

    Raises:
        ValueError: the markers are missing or in the wrong order.
    """
    before, has_begin, rest = document.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the document lacks the markers {begin!r} and {end!r}")
    return f"{before}{begin}\n{made}\n{end}{after}"
