"""Batching policy: how much to read ahead, and what a child that is free computes next. Pure.

Batches of text waste time on padding: a batch costs (longest row x rows). Each pass therefore takes the oldest item and
those closest to it in length, at most this child's share of what waits, within a budget of padded tokens. Small passes
keep all children busy and answer each item as soon as its own pass ends; the oldest item is always taken, so none waits
forever. A deep queue is read several batches ahead, which gives more items of like length to choose from; a shallow one
only a batch, so that no entry waits in a busy worker's hands while another worker is idle.

What is `interactive` goes before `batch`, but one pass in eight is for `batch` if it waits. A pass has items of one
priority only, and one of `batch` is small: it cannot be interrupted, so whoever comes next waits for it. Where nobody
has come for many passes, they are as large as others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from shared.contract.catalogue import BatchLimits
from shared.contract.queues import Priority

DEEP_READ_BATCHES = 4
MOST_WAITING_BYTES = 16 * 1024 * 1024
MOST_ENCODED_CHARS = 65_536
MOST_CONSIDERED = 256  # a pass is chosen from this many of the oldest
ONE_IN = 8  # passes is for `batch` while both wait
BATCH_PART = 8  # of the limits of a pass is what one of `batch` may have
QUIET_PASSES = 100  # of `batch` one after the other: then they are whole, for half of the time is lost with small ones


def read_size(waiting: int, waiting_bytes: int, last_read: int, limits: BatchLimits) -> int:
    """How many entries to read next, 0 if enough wait: up to several batches if the last read came back full.

    Args:
        waiting: items that are encoded and wait.
        waiting_bytes: their size; beyond a limit nothing more is read, however few they are.
    """
    if waiting_bytes > MOST_WAITING_BYTES:
        return 0
    ahead = limits.max_batch_size * (DEEP_READ_BATCHES if last_read >= limits.max_batch_size else 1)
    return max(0, ahead - waiting)


def limits_of_batch(limits: BatchLimits, in_a_row: int) -> BatchLimits:
    """The limits of a pass of `batch`.

    Args:
        in_a_row: passes of `batch` since the last interactive one.
    """
    if in_a_row >= QUIET_PASSES:
        return limits
    size, tokens = max(1, limits.max_batch_size // BATCH_PART), max(1, limits.tokens // BATCH_PART)
    return limits.model_copy(update={"max_batch_size": size, "max_batch_tokens": tokens})


def next_priority(interactive: int, batch: int, since_batch: int) -> Priority:
    """Whose pass is next.

    Args:
        interactive, batch: how many items of each wait; at least one does.
        since_batch: passes of interactive items since the last one of `batch`.
    """
    is_turn = batch > 0 and (interactive == 0 or since_batch >= ONE_IN - 1)
    return Priority.BATCH if is_turn else Priority.INTERACTIVE


def encode_windows(sizes: Sequence[int]) -> Iterator[slice]:
    """Cut what was read into calls of `encode`, each of at most `MOST_ENCODED_CHARS` characters or one text.

    What a tokenizer makes of a text takes up to a thousand times its memory, until it is packed.
    """
    start = chars = 0
    for index, size in enumerate(sizes):
        if index > start and chars + size > MOST_ENCODED_CHARS:
            yield slice(start, index)
            start, chars = index, 0
        chars += size
    if sizes:
        yield slice(start, len(sizes))


def next_pass(costs: Sequence[tuple[int, int]], children: int, limits: BatchLimits) -> list[int]:
    """What one free child computes next.

    Args:
        costs: for each waiting item, the oldest first: the tokens of its longest row and its number of rows.
        children: how many children share the work.

    Returns:
        Indices into `costs`, in ascending order: the oldest and those of like length. At most `max_batch_size` items
        and, padded to the longest row, at most `max_batch_tokens` tokens; an item over that budget is computed alone.
    """
    if not costs:
        return []
    share = min(math.ceil(len(costs) / children), limits.max_batch_size)
    oldest = costs[0][0]
    considered = range(min(len(costs), MOST_CONSIDERED))
    chosen: list[int] = []
    longest = rows = 0
    for index in sorted(considered, key=lambda i: (abs(costs[i][0] - oldest), i)):
        tokens, own_rows = costs[index]
        padded = max(longest, tokens) * (rows + own_rows)
        if chosen and (len(chosen) == share or padded > limits.tokens):
            break
        chosen.append(index)
        longest, rows = max(longest, tokens), rows + own_rows
    return sorted(chosen)
