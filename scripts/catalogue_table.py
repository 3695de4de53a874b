"""The table of the model catalogue's keys in models/README.md, made from the classes that read it.

`python -m scripts.settings_table --write` puts it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from scripts.field_meaning import meaning
from scripts.markers import between
from shared.contract.catalogue import BatchLimits, InputLimits, Model, Version

# Where a class's keys stand in the file, and how they are written there.
PLACES: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("`[[models]]`", "", Model),
    ("`[[models.versions]]`", "", Version),
    ("of a version's `batch`", "batch.", BatchLimits),
    ("of a version's `limits`", "limits.", InputLimits),
)
DOCUMENT = Path(__file__).resolve().parents[1] / "models" / "README.md"
BEGIN = "<!-- catalogue: made by python -m scripts.settings_table --write -->"
END = "<!-- /catalogue -->"


def table() -> str:
    """The Markdown table: place, key, default, meaning with its limits."""
    return "\n".join(["| in | key | default | meaning |", "|---|---|---|---|", *_rows()])


def put(document: str, made: str) -> str:
    """The document with the table between its markers.

    Raises:
        ValueError: the markers are missing or in the wrong order.
    """
    return between(document, BEGIN, made, END)


def _rows() -> Iterator[str]:
    for place, prefix, kind in PLACES:
        for name in kind.model_fields:
            default = _default(kind.model_fields[name].default)
            yield f"| {place} | `{prefix}{name}` | {default} | {meaning(kind, name)} |"


def _default(value: Any) -> str:
    """A default as it would be written in the file."""
    if value is PydanticUndefined:
        return "must be given"
    if value in (None, ""):
        return "unset"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"')
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
