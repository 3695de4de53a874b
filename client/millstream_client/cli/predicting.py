"""Commands for predictions: predict, predictions, show, cancel."""

from __future__ import annotations

import json
import sys
from itertools import islice
from typing import Annotated, Any

import typer

from millstream_client.cli.console import Console, Exit, WrongUse, command
from millstream_client.results import Prediction, Unfinished

ModelName = Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="Which model; its default version if none.")]
Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option", "-o", metavar="NAME=VALUE", help="An option of the model's task; VALUE is JSON or a text."
    ),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id of a prediction.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(predict)
    command(app)(predictions)
    command(app)(show)
    command(app)(cancel)


def predict(
    console: Console,
    model: ModelName,
    text: Annotated[str | None, typer.Argument(help="A text; `-` reads it from the standard input.")] = None,
    given: Annotated[str | None, typer.Option("--input", metavar="JSON", help="Any JSON, in place of a text.")] = None,
    option: Option = None,
    subject: Annotated[str | None, typer.Option(help="Whom it is made for, of an experiment.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="By which it is found again.")] = None,
    wait: Annotated[float, typer.Option(metavar="S", min=0, help="Seconds to wait; 0: only submit it.")] = 300,
) -> Exit | None:
    """Predict for one input, and print the answer."""
    name, version = named(model)
    value = _input(text, given)
    asked: dict[str, Any] = {"version": version, "options": options_of(option), "subject": subject, "tags": pairs(tag)}
    with console.client() as client:
        if wait == 0:
            job = client.submit(name, value, **asked)
            console.json({"prediction_id": job.id, "status": "queued"}) if console.as_json else print(job.id)
            return None
        predicted = client.predict(name, value, timeout_s=wait, **asked)
    _print(console, predicted)
    return None


def predictions(
    console: Console,
    model: Annotated[str | None, typer.Option(help="Only of this model, or MODEL@VERSION.")] = None,
    status: Annotated[
        str | None, typer.Option(help="queued, running, succeeded, failed, expired or cancelled.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Accepted at or after it (RFC 3339).")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Accepted before it.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="NAME:VALUE", help="Only with this tag.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
) -> None:
    """List predictions, newest first."""
    name, version = named(model) if model else (None, None)
    filters = {"model": name, "version": version, "status": status, "since": since, "until": until, "tag": tag}
    with console.client() as client:
        filters["limit"] = str(min(limit, 100))
        found = islice(client.predictions(**filters), limit)
        if console.as_json:
            for each in found:
                console.json(each.raw)
            return
        rows = [_row(each) for each in found]
    console.table(["ID", "MODEL", "VERSION", "STATUS", "ACCEPTED", "RESULT"], rows)


def show(console: Console, prediction_id: Id) -> Exit:
    """Show one prediction, whatever its state."""
    with console.client() as client:
        found = client.read(prediction_id)
    _print(console, found)
    bad = isinstance(found, Prediction) and not found.succeeded
    return Exit.SOME_FAILED if bad else Exit.DONE


def cancel(console: Console, prediction_id: Id) -> None:
    """Cancel one prediction: what has not begun ends, what runs is asked to stop."""
    with console.client() as client:
        found = client.cancel(prediction_id)
    if console.as_json:
        console.json(found.raw)
    elif isinstance(found, Unfinished):
        console.say(f"{prediction_id} is running and was asked to stop; look: millstream show {prediction_id}")
    else:
        console.say(f"{prediction_id} is {found.status}")


def named(model: str) -> tuple[str, str | None]:
    """A model, and its version if one is named."""
    name, _, version = model.partition("@")
    return name, version or None


def options_of(given: list[str] | None) -> dict[str, Any] | None:
    """Options as the API takes them.

    Raises:
        WrongUse: one is no NAME=VALUE.
    """
    found = pairs(given)
    return found and {name: _json_or_text(value) for name, value in found.items()}


def pairs(given: list[str] | None) -> dict[str, str] | None:
    """Names and values; None if there are none.

    Raises:
        WrongUse: one is no NAME=VALUE.
    """
    split = [each.partition("=") for each in given or ()]
    if wrong := next((whole for whole, sign, _ in split if not sign), None):
        raise WrongUse(f"{wrong!r} is not NAME=VALUE")
    return {name: value for name, _, value in split} or None


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _input(text: str | None, given: str | None) -> Any:
    if (text is None) == (given is None):
        raise WrongUse("give either a text (`-` reads it from the standard input) or --input JSON")
    if given is None:
        return sys.stdin.read() if text == "-" else text
    try:
        return json.loads(given)
    except ValueError as error:
        raise WrongUse(f"--input is not JSON: {error}") from None


def _print(console: Console, found: Prediction | Unfinished) -> None:
    if console.as_json:
        console.json(found.raw)
    else:
        console.out.print_json(json.dumps(found.raw, default=str))


def _row(each: Prediction | Unfinished) -> list[object]:
    if isinstance(each, Unfinished):
        return [each.prediction_id, each.model, each.version, each.status, None, None]
    accepted = each.created_at and f"{each.created_at:%Y-%m-%d %H:%M:%S}"
    said = json.dumps(each.result, ensure_ascii=False) if each.succeeded else each.error or ""
    return [each.prediction_id, each.model, each.version, each.status, accepted, said[:60] + "…" * (len(said) > 60)]
