"""Scoring a file from where it is to its end."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import millstream_client.scoring.checkpoint as checkpoints
from millstream_client.aio import AsyncMillstream
from millstream_client.in_order import in_order_async
from millstream_client.results import Prediction
from millstream_client.scoring.checkpoint import Checkpoint
from millstream_client.scoring.output import renderer_of
from millstream_client.scoring.plan import Plan
from millstream_client.scoring.tables import Row, Table

SAVE_S = 1.0
Answered = tuple[list[Row], list[Prediction]]


class CannotResume(Exception):
    """The output is not that of this command; the message says why and what to do."""


async def score(
    client: AsyncMillstream, table: Table, out: Path, progress: Checkpoint, concurrency: int, told: Callable[[], None]
) -> None:
    """Ask for all rows that are left, and write the answers in their order.

    Args:
        progress: how far it is; kept up to date.
        told: called whenever it changed.
    """
    render, header = renderer_of(out)
    with opened(out, progress, header(table.keep)) as file:
        saved_at = time.monotonic()
        try:
            async for rows, answers in in_order_async(_asked(client, table, progress.plan, progress.rows), concurrency):
                lines = "".join(render(row, each) for row, each in zip(rows, answers, strict=True))
                file.write(lines.encode())
                progress.rows += len(rows)
                progress.bad += sum(not each.succeeded for each in answers)
                progress.bytes = file.tell()
                told()
                if time.monotonic() - saved_at > SAVE_S:
                    save(file, out, progress)
                    saved_at = time.monotonic()
        finally:
            save(file, out, progress)


async def _asked(
    client: AsyncMillstream, table: Table, plan: Plan, done: int
) -> AsyncIterator[Coroutine[Any, Any, Answered]]:
    for batch in plan.batches(table.rows(), done):
        yield _answered(client, plan, batch)


async def _answered(client: AsyncMillstream, plan: Plan, batch: list[Row]) -> Answered:
    inputs = [row.given for row in batch]
    return batch, await client.predict_batch(plan.model, inputs, idempotency_key=plan.key(batch), **plan.asked)


def begin(out: Path, plan: Plan) -> Checkpoint:
    """Where to begin: where an earlier run of the same command ended, or at the first row.

    Raises:
        CannotResume: the output is another's.
        ValueError: what is noted of it cannot be read.
    """
    known, size = checkpoints.load(out), out.stat().st_size if out.exists() else None
    if known is None and size:
        raise CannotResume(f"{out} is there already, and no run of millstream score: choose another name, or delete it")
    if known is None or size is None:
        return Checkpoint(plan)
    if differences := known.plan.differences(plan):
        if known.rows == 0:
            return Checkpoint(plan)
        over = f"to start over, delete {out} and {checkpoints.path_of(out)}"
        raise CannotResume(f"{out} is of another run: {'; '.join(differences)}. Choose another name; or, {over}")
    if size < known.bytes:
        raise CannotResume(
            f"{out} has {size:,} bytes and had {known.bytes:,}: to start over, delete it and {checkpoints.path_of(out)}"
        )
    return known


def version_before(out: Path, model: str) -> str | None:
    """The version of a model that an output was begun with; None if it was not begun, or with another model."""
    known = checkpoints.load(out) if out.exists() else None
    return known.plan.version if known and known.rows and known.plan.model == model else None


@contextmanager
def opened(out: Path, progress: Checkpoint, header: str) -> Iterator[BinaryIO]:
    """The output, cut off after what is known to be good, for this process alone.

    Raises:
        CannotResume: another process writes it.
    """
    with out.open("ab") as file:
        _lock(file, out)
        file.truncate(progress.bytes)
        if not progress.rows:
            file.write(header.encode())
            progress.bytes = file.tell()
            save(file, out, progress)  # the keys that are used from here on
        yield file


def save(file: BinaryIO, out: Path, progress: Checkpoint) -> None:
    """Note how far it is."""
    file.flush()
    os.fsync(file.fileno())
    checkpoints.save(out, progress)


def _lock(file: BinaryIO, out: Path) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # on Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CannotResume(f"another millstream score is writing {out}") from None
