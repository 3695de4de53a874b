"""`make demo`: the same few texts through every model that is served, with a bar that moves, and a table of what came.

What takes no text is sent its own example instead. Everything is tagged `demo:yes`, so that it is found again, in the
console too. Ends with 1 if a prediction failed, with 3 if the gateway is not reached.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from millstream_client import Millstream, MillstreamError, Prediction
from scripts.smoke import ANY_TEXT, OPTIONS

TEXTS = (
    "The harvest was good, and everybody in the village came to help.",
    "I waited two weeks for a parcel that never came. Never again.",
    "The match was decided in the last minute, to the delight of the crowd.",
    "It does what it says, no more and no less.",
    "Parliament votes on the new budget on Thursday.",
    "The soup was cold and the waiter was rude, but the view is beautiful.",
    "A quiet film about two brothers and a river. I was moved to tears.",
    "The update broke everything that used to work.",
)
ANSWER_CHARS = 48


class Tried(NamedTuple):
    """What came of one version."""

    name: str
    predictions: list[Prediction]
    seconds: float

    @property
    def failed(self) -> list[Prediction]:
        """Those without a result."""
        return [each for each in self.predictions if not each.succeeded]


def served(client: Millstream) -> Iterator[tuple[str, str, list[Any], dict[str, Any]]]:
    """Model, version, inputs and options of each version that a live worker serves."""
    for model in client.models():
        for version in client.model(model.name).versions:
            if version.is_active and version.workers:
                example = (version.schemas or {}).get("example")
                texts = model.task in ANY_TEXT or example is None
                options = OPTIONS.get(model.task, {})
                yield model.name, version.version, [*TEXTS] if texts else [example] * len(TEXTS), dict(options)


def demo(client: Millstream, console: Console) -> list[Tried]:
    """Try all of them, one after the other."""
    tried = []
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        for model, version, inputs, options in served(client):
            bar = bars.add_task(f"{model} {version}", total=len(inputs))
            began, found = time.monotonic(), []
            asked = client.predict_many(
                model, inputs, batch_size=4, version=version, options=options or None, tags={"demo": "yes"}
            )
            for each in asked:
                found.append(each)
                bars.advance(bar)
            tried.append(Tried(f"{model} {version}", found, time.monotonic() - began))
    return tried


def table(tried: list[Tried]) -> Table:
    """What came of it."""
    drawn = Table("model", "predictions", "failed", "a second", "the first answer")
    for each in tried:
        first = each.predictions[0]
        answer = json.dumps(first.result, ensure_ascii=False) if first.succeeded else first.error or first.status
        shown = answer if len(answer) <= ANSWER_CHARS else f"{answer[: ANSWER_CHARS - 1]}…"
        rate = f"{len(each.predictions) / each.seconds:.1f}"
        drawn.add_row(each.name, str(len(each.predictions)), str(len(each.failed)), rate, shown)
    return drawn


def main() -> int:
    """Run it; the answer is the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("url", help="of the gateway; who asks stands in MILLSTREAM_TOKEN")
    url, console = parser.parse_args().url, Console()
    try:
        with Millstream(url, patience_s=5) as client:
            tried = demo(client, console)
    except MillstreamError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 3
    if not tried:
        print("demo: no live worker serves a model; see make status", file=sys.stderr)
        return 1
    console.print(table(tried))
    console.print(f"They are in the history: {url.rstrip('/')}/#/predictions?tag=demo:yes")
    return 1 if any(each.failed for each in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
