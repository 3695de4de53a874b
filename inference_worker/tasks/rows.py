"""Rows of token ids: padding them to a rectangle, and splitting a batch so that no pass outgrows memory.

Pure functions over lists, apart from `pad`, which makes the arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.int64]]
Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a batch, special tokens included.

    Attributes:
        ids: token ids.
        types: token type ids (0 first text, 1 second text of a pair), as many as `ids`.
        weight: how many tokens of the client's text it holds, for averaging over chunks.
        skipped: how many tokens at its start are read but not pooled, such as an instruction's.
    """

    ids: Sequence[int]
    types: Sequence[int]
    weight: int
    skipped: int = 0


def passes(lengths: Sequence[int], token_budget: int, *, mixed: bool = True) -> Iterator[list[int]]:
    """Group rows of similar length into forward passes.

    Args:
        lengths: tokens in each row.
        token_budget: most padded tokens (rows x longest row) in a pass; a row longer than that goes alone.
        mixed: whether rows of different length may share a pass.

    Yields:
        The indices of one pass; each index occurs in exactly one of them.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        longest = lengths[group[0]] if group else 0
        if group and ((len(group) + 1) * longest > token_budget or not (mixed or lengths[index] == longest)):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def pad(rows: Sequence[Row], pad_id: int | None, side: Side = "right") -> Arrays:
    """Pad rows to the longest of them.

    Returns:
        `input_ids`, `attention_mask`, `token_type_ids` and `pooled_mask`, which is 1 where a token is pooled; each
        int64 of shape (rows, longest row).
    """
    longest = max(len(row.ids) for row in rows)

    def rectangle(values: Sequence[Sequence[int]], fill: int) -> NDArray[np.int64]:
        blanks = [[fill] * (longest - len(line)) for line in values]
        if side == "left":
            return np.array([[*blank, *line] for blank, line in zip(blanks, values, strict=True)], np.int64)
        return np.array([[*line, *blank] for blank, line in zip(blanks, values, strict=True)], np.int64)

    return {
        "input_ids": rectangle([row.ids for row in rows], pad_id or 0),
        "attention_mask": rectangle([[1] * len(row.ids) for row in rows], 0),
        "token_type_ids": rectangle([row.types for row in rows], 0),
        "pooled_mask": rectangle([[0] * row.skipped + [1] * (len(row.ids) - row.skipped) for row in rows], 0),
    }
