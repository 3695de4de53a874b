"""Rows of CSV, JSON Lines and Parquet files, one after the other."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

MOST_LINE_BYTES = 16_000_000
PARQUET_ROWS = 1000  # read at once
Record = Mapping[str, Any]


class BadTable(Exception):
    """A file cannot be read; the message says where and why."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        number: counted from 1, without the header.
        given: what the model gets.
        kept: what is copied to the output.
    """

    number: int
    given: Any
    kept: Record


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Attributes:
        columns: what the model gets: the value of one column, or an object of several.
        keep: columns that are copied to the output.
    """

    path: Path
    columns: Sequence[str]
    keep: Sequence[str] = ()

    def rows(self) -> Iterator[Row]:
        """All rows.

        Raises:
            BadTable: the file is not what its name says, or lacks a column.
        """
        for number, record in enumerate(_reader_of(self.path)(self.path), 1):
            if lacking := [name for name in (*self.columns, *self.keep) if name not in record]:
                raise BadTable(f"{self.path}, row {number}: no column {lacking[0]!r}; there are: {_listed(record)}")
            yield Row(number, self._given(record), {name: record[name] for name in self.keep})

    def _given(self, record: Record) -> Any:
        if len(self.columns) == 1:
            return record[self.columns[0]]
        read = _of_csv if self.path.suffix.lower() == ".csv" else _as_it_is
        return {name: read(record[name]) for name in self.columns}


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reader_of(path: Path) -> Callable[[Path], Iterator[Record]]:
    reader = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}.get(path.suffix.lower())
    if reader is None:
        raise BadTable(f"{path} must end with .csv, .jsonl or .parquet")
    return reader


def _csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(MOST_LINE_BYTES)
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for record in reader:
                if None in record or None in record.values():
                    raise BadTable(f"{path}, line {reader.line_num}: not as many cells as the header has")
                yield record
        except csv.Error as error:
            raise BadTable(f"{path}, line {reader.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            raise BadTable(f"{path} is not UTF-8, near line {reader.line_num}: {error.reason}") from None


def _jsonl(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file, path), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise BadTable(f"{path}, line {number}: not JSON: {error}") from None
            if not isinstance(record, dict):
                raise BadTable(f'{path}, line {number}: not an object, such as {{"text": "…"}}')
            yield record


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    number = 0
    while line := file.readline(MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            raise BadTable(f"{path}, line {number}: longer than {MOST_LINE_BYTES:,} bytes")
        yield line


def _parquet(path: Path) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError:
        raise BadTable(f"{path} needs pyarrow: pip install pyarrow") from None
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                yield from ({name: _plain(value, name) for name, value in each.items()} for each in batch.to_pylist())
    except ArrowException as error:
        raise BadTable(f"{path} cannot be read as Parquet: {error}") from None


def _plain(value: Any, place: str) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [_plain(each, place) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each, place) for name, each in value.items()}
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        raise BadTable(f"column {place!r} has bytes, which JSON has not: encode them as a text")
    if isinstance(value, Decimal):
        return float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _of_csv(text: str) -> Any:
    """A cell of several that make an object: a number, true or false where it is one; nothing, if it is empty."""
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) and math.isfinite(value) else text


def _as_it_is(value: Any) -> Any:
    return value


def _listed(record: Record) -> str:
    return ", ".join(map(str, list(record)[:20]))
