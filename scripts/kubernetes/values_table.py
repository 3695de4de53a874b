"""The table of the chart's values in its README, made from values.yaml: the comment before a key is its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import yaml

from scripts.kubernetes.chart import CHART
from scripts.markers import between

VALUES = CHART / "values.yaml"
README = CHART / "README.md"
BEGIN = "<!-- values: made by make manifests -->"
END = "<!-- /values -->"


class Row(NamedTuple):
    """One value: where it stands, its default as JSON, what it is for."""

    key: str
    default: str
    meaning: str


def rows(text: str) -> list[Row]:
    """Every value that is described, and every one that is not below a described one, with no meaning."""
    lines = text.splitlines()
    return list(_rows(yaml.compose(text, Loader=yaml.SafeLoader), lines, ""))


def table(text: str) -> str:
    """The Markdown table."""
    lines = ["| value | default | meaning |", "|---|---|---|"]
    lines += [f"| `{row.key}` | `{row.default}` | {row.meaning} |" for row in rows(text)]
    return "\n".join(lines)


def readme(document: str, made: str) -> str:
    """The README with the table between its markers.

    Raises:
        ValueError: the markers are missing or in the wrong order.
    """
    return between(document, BEGIN, made, END)


def _rows(mapping: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[Row]:
    for key, value in mapping.value:
        path = f"{prefix}{key.value}"
        meaning = _comment(lines, key.start_mark.line)
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style and value.value
        if is_block and not meaning:
            yield from _rows(value, lines, f"{path}.")
        elif is_block and any(_comment(lines, each.start_mark.line) for each, _ in value.value):
            yield from _rows(value, lines, f"{path}.")
        else:
            default = json.dumps(yaml.SafeLoader("").construct_document(value), ensure_ascii=False)
            yield Row(path, default, meaning.replace("|", "\\|"))


def _comment(lines: list[str], line: int) -> str:
    """The comment directly before a line, as one paragraph; section rules are none."""
    words: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("# ") and "-----" not in lines[line - 1]:
        line -= 1
        words.insert(0, lines[line].strip().removeprefix("# "))
    return " ".join(words)
