"""The commands, put together."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import millstream_client.cli.predicting as predicting
import millstream_client.cli.scoring as scoring
import millstream_client.cli.serving as serving
import millstream_client.cli.upkeep as upkeep
from millstream_client.connection import VERSION

app = typer.Typer(
    name="millstream",
    help="Ask a Millstream server: predict, score files, look at queues. Exit codes: 0 done; 1 some predictions did "
    "not succeed; 2 wrong use; 3 the server is away or busy; 4 not allowed; 130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
for part in (predicting, scoring, serving, upkeep):
    part.add_to(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(VERSION)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What may stand before a command."""


def run() -> int:
    """Run the command line; ends with its exit code."""
    app()
    return 0


if __name__ == "__main__":
    sys.exit(run())
