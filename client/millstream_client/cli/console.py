"""What commands have in common: where the server is, how answers are printed, and what an error is to the shell.

Exit codes: 0 it was done; 1 some predictions did not succeed; 2 wrong use, or a request that the server does not take;
3 the server cannot be reached, or cannot do it now; 4 it is not known who asks, or they may not; 130 interrupted.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console as Screen
from rich.markup import escape
from rich.table import Table

from millstream_client.aio import AsyncMillstream
from millstream_client.client import Millstream
from millstream_client.connection import Connection
from millstream_client.errors import (
    LimitReached,
    MillstreamError,
    NotAllowed,
    NotFinished,
    PredictionFailed,
    Refused,
    ServerFault,
    Unavailable,
    Unreachable,
)

HINT = "`make up` starts one here; --url or MILLSTREAM_URL names another"


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    SOME_FAILED = 1
    WRONG_USE = 2
    UNAVAILABLE = 3
    NOT_ALLOWED = 4
    INTERRUPTED = 130


class WrongUse(Exception):
    """The command cannot be done as it was given; the message says why and what to do."""


class Console:
    """Where a command asks, and where it prints.

    Attributes:
        screen: for people; of everything but the answer itself, and on the standard error output.
    """

    def __init__(self, connection: Connection, as_json: bool, patience_s: float) -> None:
        self.connection = connection
        self.as_json = as_json
        self.patience_s = patience_s
        self.screen = Screen(stderr=True, highlight=False)
        self.out = Screen(highlight=False, soft_wrap=True)

    def client(self) -> Millstream:
        """A client of the server."""
        return Millstream(**self._how())

    def asynchronous(self, patience_s: float) -> AsyncMillstream:
        """One for asyncio, of some patience at least."""
        return AsyncMillstream(**{**self._how(), "patience_s": max(patience_s, self.patience_s)})

    def _how(self) -> dict[str, Any]:
        return {
            "url": self.connection.url,
            "token": self.connection.token,
            "token_file": self.connection.token_file,
            "patience_s": self.patience_s,
        }

    def json(self, value: Any) -> None:
        """Print JSON, on one line."""
        print(json.dumps(value, ensure_ascii=False, default=str), flush=True)

    def say(self, text: str) -> None:
        """Print a sentence for people."""
        self.screen.print(escape(text), soft_wrap=True)

    def table(self, columns: list[str], rows: list[list[object]]) -> None:
        """Print a table."""
        self.out.print(table_of(columns, rows), crop=False)


def table_of(columns: list[str], rows: list[list[object]]) -> Table:
    """A table; numbers stand to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numbers = all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(name, justify="right" if rows and numbers else "left", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(escape(cell(value)) for value in row))
    return table


def cell(value: object) -> str:
    """A value in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


Url = Annotated[
    str | None, typer.Option("--url", help="Where the server is.", envvar="MILLSTREAM_URL", rich_help_panel="Server")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="File with a token or an API key; or set MILLSTREAM_TOKEN.", rich_help_panel="Server"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, errors too.", rich_help_panel="Server")]
PatienceS = Annotated[
    float,
    typer.Option(
        "--patience",
        metavar="S",
        min=0,
        help="Seconds to go on trying if it is away or busy.",
        rich_help_panel="Server",
    ),
]
_ALWAYS: dict[str, tuple[Any, Any]] = {
    "url": (Url, None),
    "token_file": (TokenFile, None),
    "as_json": (Json, False),
    "patience_s": (PatienceS, 5.0),
}


def command(app: typer.Typer, name: str | None = None, **more: Any) -> Callable[[Callable[..., Exit | None]], None]:
    """A command: a function of a `Console` and its own arguments, which also has the options that all have.

    What it returns is the exit code; errors are told, and become one.
    """

    def add(function: Callable[..., Exit | None]) -> None:
        hints = get_type_hints(function, include_extras=True)
        own = list(inspect.signature(function).parameters.values())[1:]
        always = [
            inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for each, (kind, default) in _ALWAYS.items()
        ]

        @wraps(function)
        def run(**given: Any) -> None:
            url, token_file, as_json, patience_s = (given.pop(each) for each in _ALWAYS)
            with told(as_json):
                console = Console(Connection.of(url, None, token_file), as_json, patience_s)
                raise typer.Exit(int(function(console, **given) or Exit.DONE))

        del run.__wrapped__
        as_keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name]) for each in own]
        run.__signature__ = inspect.Signature([*as_keywords, *always])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*as_keywords, *always)}
        app.command(name, **more)(run)

    return add


@contextmanager
def told(as_json: bool) -> Iterator[None]:
    """Tell an error, and end with its exit code."""
    try:
        yield
    except (MillstreamError, WrongUse, ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        tell(error, as_json)
        raise typer.Exit(int(code_of(error))) from None


def code_of(error: Exception) -> Exit:
    """The exit code for an error."""
    if isinstance(error, PredictionFailed):
        return Exit.SOME_FAILED
    if isinstance(error, NotAllowed):
        return Exit.NOT_ALLOWED
    if isinstance(error, Unreachable | NotFinished | LimitReached | Unavailable | ServerFault):
        return Exit.UNAVAILABLE
    return Exit.WRONG_USE


def tell(error: Exception, as_json: bool) -> None:
    """Print what is wrong on the standard error output: what was asked, what is wrong, what to do."""
    screen = Screen(stderr=True, highlight=False)
    if as_json:
        print(json.dumps({"error": facts_of(error)}, ensure_ascii=False, default=str), file=screen.file)
        return
    for line in lines_of(error):
        screen.print(escape(line), soft_wrap=True)


def lines_of(error: Exception) -> Iterator[str]:
    """An error for people."""
    if isinstance(error, Refused):
        yield f"millstream: {error.method} {error.url}"
        yield f"  {error.status} {error.title}: {error.detail}"
        if error.retry_after_s is not None:
            yield f"  try again in {error.retry_after_s:g} s, or wait for it with --patience"
    elif isinstance(error, Unreachable):
        yield f"millstream: {error.url}"
        yield f"  {error.reason}"
        yield f"  {HINT}"
    elif isinstance(error, NotFinished):
        yield f"millstream: {error}"
        yield f"  it goes on; look again: millstream show {error.prediction_id}"
    else:
        yield f"millstream: {error}"


def facts_of(error: Exception) -> dict[str, Any]:
    """An error as JSON."""
    names = ("url", "status", "kind", "title", "detail", "reason", "retry_after_s", "prediction_id")
    facts = {name: value for name in names if (value := getattr(error, name, None)) not in (None, "")}
    places = [{"loc": each.place, "msg": each.message} for each in getattr(error, "errors", ())]
    return {"message": str(error), **facts, **({"errors": places} if places else {})}
