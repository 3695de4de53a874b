"""Commands that show what serves: models, queues, top."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from millstream_client.cli.console import Console, command, table_of
from millstream_client.client import Millstream
from millstream_client.errors import NotFound
from millstream_client.results import Event, Model

LOOK_S = 2.0
QUEUES = ["MODEL", "VERSION", "PRIORITY", "DEPTH", "RUNNING", "OLDEST S", "DRAINS/S", "EMPTY IN S", "WORKERS"]
_FIELDS = ("model", "version", "priority", "depth", "running", "oldest_s", "drains_per_s", "eta_s", "workers")
_WITHOUT_EVENTS = "this server has no /api/v1/events: of queues it tells only who serves them"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(models)
    command(app)(queues)
    command(app)(top)


def models(
    console: Console, name: Annotated[str | None, typer.Argument(help="One model, with what it takes.")] = None
) -> None:
    """List models, their versions, and how many workers serve each."""
    with console.client() as client:
        found = [client.model(name)] if name else client.models()
    if console.as_json:
        console.json(found[0].raw if name else {"items": [each.raw for each in found]})
        return
    console.table(["MODEL", "VERSION", "DEFAULT", "ACTIVE", "WORKERS", "TASK", "TROUBLE"], _versions(found))
    if name:
        _print_schemas(console, found[0])


def queues(
    console: Console, watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C.")] = False
) -> None:
    """Show the queue of each model version: how deep, how fast, empty when."""
    with console.client() as client:
        looks = (seen for seen in _looks(client) if seen.queues)
        if not watch:
            _print_queues(console, next(looks))
            return
        if console.as_json:
            for seen in looks:
                console.json(seen.queues)
            return
        with Live(console=console.out, auto_refresh=False) as live:
            for seen in looks:
                live.update(Group(*_queue_lines(seen)), refresh=True)


def top(console: Console) -> None:
    """Watch queues and workers until Ctrl-C."""
    with console.client() as client:
        if console.as_json:
            for seen in _looks(client):
                console.json({**seen.queues, **seen.workers})
            return
        with Live(console=console.out, auto_refresh=False, screen=console.out.is_terminal) as live:
            for seen in _looks(client):
                live.update(_page(console, seen), refresh=True)


class Seen:
    """What was seen last.

    Attributes:
        note: what else there is to know.
    """

    def __init__(self, note: str = "") -> None:
        self.queues: Mapping[str, Any] = {}
        self.workers: Mapping[str, Any] = {}
        self.note = note

    def take(self, event: Event) -> bool:
        """Note what an event tells; whether it is of use."""
        if event.kind == "queues":
            self.queues = event.data
        elif event.kind == "workers":
            self.workers = event.data
        return event.kind in ("queues", "workers")


def _looks(client: Millstream) -> Iterator[Seen]:
    """What is seen, whenever it changes: by events, or from a server that has none by asking for its models."""
    seen = Seen()
    try:
        for event in client.events():
            if seen.take(event):
                yield seen
    except NotFound:
        seen = Seen(_WITHOUT_EVENTS)
        while True:
            seen.queues = {"queues": _queues_of(client.models())}
            yield seen
            time.sleep(LOOK_S)


def _queues_of(found: list[Model]) -> list[dict[str, Any]]:
    """What models tell of their queues."""
    return [
        {"model": model.name, "version": each.version, "priority": "", "workers": each.workers}
        for model in found
        for each in model.versions
        if each.is_active
    ]


def _print_queues(console: Console, seen: Seen) -> None:
    if console.as_json:
        console.json(seen.queues)
        return
    for line in _queue_lines(seen):
        console.out.print(line, crop=False)


def _queue_lines(seen: Seen) -> list[Any]:
    told = seen.queues.get("queues") or []
    lines: list[Any] = [table_of(QUEUES, [[each.get(name) for name in _FIELDS] for each in told])]
    if "results" in seen.queues:
        stored = f"results to be stored: {seen.queues['results']:,}"
        lines.append(Text(f"{stored}; dead letters: {seen.queues.get('dead_letters', 0):,}"))
    lines += [
        Text(f"nobody serves {each['model']} {each['version']}: its requests wait", style="bold red")
        for each in told
        if each.get("workers") == 0 and each.get("priority") != "batch"
    ]
    return [*lines, Text(seen.note, style="yellow")] if seen.note else lines


def _page(console: Console, seen: Seen) -> Group:
    head = Text(f"{console.connection.url}  {time.strftime('%H:%M:%S')}  Ctrl-C ends", style="dim")
    rows: list[list[object]] = [
        [each["id"], each.get("host"), each.get("started_at"), each.get("in_flight"), _states(each.get("states") or {})]
        for each in seen.workers.get("workers") or []
    ]
    workers: list[Any] = (
        [Text(""), table_of(["WORKER", "HOST", "SINCE", "IN FLIGHT", "VERSIONS"], rows)] if rows else []
    )
    return Group(head, *_queue_lines(seen), *workers)


def _states(states: Mapping[str, Any]) -> str:
    return ", ".join(f"{version} {state}" for version, state in states.items())


def _versions(found: list[Model]) -> list[list[object]]:
    return [
        [model.name, each.version, each.is_default, each.is_active, each.workers, model.task, each.load_error or ""]
        for model in found
        for each in model.versions
    ]


def _print_schemas(console: Console, model: Model) -> None:
    shown = next((each for each in model.versions if each.is_default), None)
    console.out.print(f"\n{model.description}" if model.description else "", markup=False)
    for what, schema in ((shown.schemas if shown else None) or {}).items():
        console.out.print(f"\n{what}:", style="bold")
        console.out.print_json(data=schema)
