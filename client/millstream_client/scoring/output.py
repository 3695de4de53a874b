"""Answers as lines of a file that is only appended to."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from millstream_client.results import Prediction
from millstream_client.scoring.tables import Row

COLUMNS = ("row", "prediction_id", "status", "label", "confidence", "result", "error")
Render = Callable[[Row, Prediction], str]


def renderer_of(path: Path) -> tuple[Render, Callable[[Sequence[str]], str]]:
    """How a line is made, and the first one from the columns that are kept.

    Raises:
        ValueError: the name does not say in which format.
    """
    kind = path.suffix.lower()
    if kind in (".jsonl", ".ndjson"):
        return json_line, lambda keep: ""
    if kind == ".csv":
        return csv_line, csv_header
    raise ValueError(f"{path} must end with .jsonl or .csv: what is written has to be appended to")


def json_line(row: Row, predicted: Prediction) -> str:
    """A line of JSON."""
    told = {
        "row": row.number,
        **row.kept,
        "prediction_id": predicted.prediction_id or None,
        "status": predicted.status,
        "result": predicted.result,
        "confidence": predicted.confidence,
        **({"error": predicted.error} if predicted.error else {}),
    }
    return json.dumps(told, ensure_ascii=False) + "\n"


def csv_header(keep: Sequence[str]) -> str:
    """The names of the columns."""
    return _csv([COLUMNS[0], *keep, *COLUMNS[1:]])


def csv_line(row: Row, predicted: Prediction) -> str:
    """A line of CSV, with the result as JSON."""
    result = predicted.result
    label = (result or {}).get("label")
    told = None if result is None else json.dumps(result, ensure_ascii=False)
    said = [predicted.prediction_id, predicted.status, label, predicted.confidence, told, predicted.error]
    return _csv([row.number, *row.kept.values(), *said])


def _csv(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(["" if each is None else each for each in cells])
    return line.getvalue()
