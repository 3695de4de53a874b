"""The command `score`."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

import millstream_client.scoring.run as run
from millstream_client.batches import MOST_INPUTS
from millstream_client.cli.console import Console, Exit, WrongUse, command
from millstream_client.cli.predicting import Option, named, options_of
from millstream_client.errors import LimitReached, Unavailable, Unreachable
from millstream_client.scoring.checkpoint import Checkpoint
from millstream_client.scoring.output import COLUMNS, renderer_of
from millstream_client.scoring.plan import Plan
from millstream_client.scoring.tables import BadTable, Table, digest_of

PATIENCE_S = 300.0
TELL_S = 10.0  # how often, where there is no terminal


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(score)


def score(
    console: Console,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file.", exists=True, dir_okay=False)
    ],
    model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL[@VERSION]", help="Which model.")],
    out: Annotated[Path, typer.Option("--out", "-O", help="Where answers go: a .jsonl or .csv file.", dir_okay=False)],
    column: Annotated[
        list[str] | None,
        typer.Option("--column", "-c", help="What the model gets; several make an object. Default: text."),
    ] = None,
    keep: Annotated[list[str] | None, typer.Option("--keep", "-k", help="A column to copy to the output.")] = None,
    option: Option = None,
    priority: Annotated[str, typer.Option(help="batch, or interactive.")] = "batch",
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Rows in a request.")] = MOST_INPUTS,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests at once.")] = 4,
) -> Exit:
    """Predict for every row of a file. After an interruption, the same command goes on where it was; no row is computed
    or written twice."""
    _check_names(file, out, keep or [])
    table = Table(file, column or ["text"], keep or [])
    try:
        plan = _plan_of(console, table, out, model, options_of(option), priority, batch_size)
        progress = run.begin(out, plan)
        began = (progress.rows, time.monotonic())
        if not progress.finished or not plan.rows:
            _go_on(console, table, out, progress, concurrency)
    except (BadTable, run.CannotResume) as error:
        raise WrongUse(str(error)) from None
    _sum_up(console, out, progress, *began)
    return Exit.SOME_FAILED if progress.bad else Exit.DONE


def _plan_of(
    console: Console,
    table: Table,
    out: Path,
    model: str,
    options: dict[str, Any] | None,
    priority: str,
    batch_size: int,
) -> Plan:
    name, version = named(model)
    return Plan(
        run=uuid.uuid4().hex,
        digest=digest_of(table.path),
        rows=sum(1 for _ in table.rows()),
        model=name,
        version=version or run.version_before(out, name) or _default_of(console, name),
        columns=list(table.columns),
        keep=list(table.keep),
        options=options,
        priority=priority,
        batch_size=batch_size,
    )


def _go_on(console: Console, table: Table, out: Path, progress: Checkpoint, concurrency: int) -> None:
    async def scored(told: Callable[[], None]) -> None:
        async with console.asynchronous(PATIENCE_S) as client:
            await run.score(client, table, out, progress, concurrency, told)

    try:
        with _shown(console, progress) as told:
            asyncio.run(scored(told))
    except (KeyboardInterrupt, Unreachable, Unavailable, LimitReached):
        console.say(
            f"stopped after {progress.rows:,} of {progress.plan.rows:,} rows; the same command goes on from there"
        )
        raise


@contextmanager
def _shown(console: Console, progress: Checkpoint) -> Iterator[Callable[[], None]]:
    """Show how far it is, whenever what is returned is called."""
    if console.as_json or not console.screen.is_terminal:
        yield _Lines(console, progress)
        return
    columns = (TaskProgressColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console.screen) as bar:
        task = bar.add_task("rows", total=progress.plan.rows, completed=progress.rows, rate="")

        def told() -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.0f} rows/s" if speed else ""
            bad = f", {progress.bad:,} not well" if progress.bad else ""
            bar.update(task, completed=progress.rows, rate=rate + bad)

        yield told


class _Lines:
    """How far it is, in a line now and then; nothing if JSON is wanted."""

    def __init__(self, console: Console, progress: Checkpoint) -> None:
        self._console = console
        self._progress = progress
        self._first = progress.rows
        self._began = self._told = time.monotonic()

    def __call__(self) -> None:
        now, progress = time.monotonic(), self._progress
        if self._console.as_json or now - self._told < TELL_S:
            return
        self._told = now
        rate = (progress.rows - self._first) / (now - self._began)
        left = (progress.plan.rows - progress.rows) / rate if rate else 0
        self._console.say(f"{progress.rows:,} of {progress.plan.rows:,} rows, {rate:,.0f} rows/s, {left:,.0f} s left")


def _sum_up(console: Console, out: Path, progress: Checkpoint, before: int, since: float) -> None:
    seconds = time.monotonic() - since
    if console.as_json:
        good = progress.rows - progress.bad
        facts = {"rows": progress.rows, "succeeded": good, "not_succeeded": progress.bad, "resumed_at": before}
        console.json({**facts, "seconds": round(seconds, 3), "out": str(out)})
        return
    bad = f"; {progress.bad:,} did not succeed: see status and error" if progress.bad else ""
    done = progress.rows - before
    rate = f", {done:,} now, {done / seconds:,.0f} rows/s" if done and seconds > 0 else ", all before"
    console.say(f"{progress.rows:,} rows are in {out}{rate}{bad}")


def _check_names(file: Path, out: Path, keep: list[str]) -> None:
    renderer_of(out)
    if out.resolve() == file.resolve():
        raise WrongUse(f"--out is {file} itself")
    if not out.absolute().parent.is_dir():
        raise WrongUse(f"there is no folder {out.absolute().parent}")
    if taken := sorted(set(keep) & set(COLUMNS)):
        raise WrongUse(f"--keep {taken[0]}: the output has a column of this name")


def _default_of(console: Console, name: str) -> str:
    """The version of a model that is taken: named in every request, so that a file has answers of one version."""
    with console.client() as client:
        model = client.model(name)
    if model.default is None:
        versions = ", ".join(each.version for each in model.versions)
        raise WrongUse(f"{name} has no default version: say which, as in --model {name}@VERSION; there are: {versions}")
    return model.default
