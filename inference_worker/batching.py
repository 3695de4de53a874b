"""Batching policy: how much to read and how to cut it into batches. Pure.

Batches of text waste time on padding: a batch costs (longest row x rows). A deep queue is therefore read several
batches at a time, sorted by length, and cut into batches of similar length, each bounded in items and padded tokens.
(The token budget follows text-embeddings-inference's queue.) A shallow queue is read one batch at a time, so that no
entry waits in a busy worker's hands while another worker is idle.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.contract.catalogue import BatchLimits

DEEP_READ_BATCHES = 4


def read_size(last_read: int, limits: BatchLimits) -> int:
    """How many entries to read next: several batches if the last read came back full, otherwise one."""
    return limits.max_batch_size * (DEEP_READ_BATCHES if last_read >= limits.max_batch_size else 1)


def plan_batches(costs: Sequence[tuple[int, int]], limits: BatchLimits) -> list[list[int]]:
    """Cut items into batches of similar length.

    Args:
        costs: for each item, the tokens of its longest row and its number of rows.

    Returns:
        Batches of indices into `costs`, shortest items first. Each holds at most `max_batch_size` items and, padded
        to its longest row, at most `max_batch_tokens` tokens; an item over that budget is a batch of its own.
    """
    batches: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(costs)), key=lambda i: costs[i]):
        tokens, own_rows = costs[index]
        full = not batches or len(batches[-1]) == limits.max_batch_size
        if full or tokens * (rows + own_rows) > limits.max_batch_tokens:
            batches.append([])
            rows = 0
        batches[-1].append(index)
        rows += own_rows
    return batches
