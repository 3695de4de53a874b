"""Commands for who runs it: dead letters, tokens, and models under development."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer

from millstream_client.cli.console import Console, Exit, WrongUse, command
from millstream_client.client import Millstream
from millstream_client.errors import NotAllowed, Refused

REPOSITORY = "run it in a checkout of Millstream, in the environment that `make up` makes"
_PROBES: dict[str, tuple[str, str, Any]] = {  # for each scope something that needs it and changes nothing
    "predict": ("POST", "/api/v1/predict", {}),
    "read": ("GET", "/api/v1/predictions?limit=1", None),
    "admin": ("GET", "/api/v1/dead-letters?limit=1", None),
}
_HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


class LetterAction(StrEnum):
    """What is done with dead letters."""

    LIST = "list"
    REPLAY = "replay"
    DELETE = "delete"


class TokenAction(StrEnum):
    """What is done with tokens."""

    CHECK = "check"
    MAKE = "make"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "dead-letters")(dead_letters)
    command(app)(token)
    app.command("dev", context_settings=_HANDED_ON, add_help_option=False)(dev)
    app.command("check", context_settings=_HANDED_ON, add_help_option=False)(check)


def dead_letters(
    console: Console,
    action: Annotated[LetterAction, typer.Argument(help="What to do.")] = LetterAction.LIST,
    letter: Annotated[str | None, typer.Argument(metavar="[ID]", help="Which, to replay or delete it.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many to list.")] = 20,
) -> None:
    """List what was given up on, try one again, or delete it."""
    if (action is LetterAction.LIST) != (letter is None):
        raise WrongUse("replay and delete need the id of a dead letter, list has none")
    with console.client() as client:
        if letter is None:
            _list_letters(console, client, limit)
        elif action is LetterAction.REPLAY:
            job = client.replay_dead_letter(letter)
            if console.as_json:
                console.json({"prediction_id": job.id, "status": "queued"})
            else:
                console.say(f"queued again; look: millstream show {job.id}")
        else:
            client.delete_dead_letter(letter)
            console.json({"deleted": letter}) if console.as_json else console.say(f"deleted {letter}")


def _list_letters(console: Console, client: Millstream, limit: int) -> None:
    found = list(islice(client.dead_letters(), limit))
    if console.as_json:
        console.json({"items": [each.raw for each in found]})
        return
    rows: list[list[object]] = [
        [each.dead_letter_id, each.source, each.reason, each.deliveries, each.replayable, each.error] for each in found
    ]
    console.table(["ID", "FROM", "REASON", "TRIED", "REPLAYABLE", "ERROR"], rows)


def token(
    console: Console,
    action: Annotated[TokenAction, typer.Argument(help="check the one in use, or make one.")] = TokenAction.CHECK,
    scope: Annotated[str, typer.Argument(help="Of one that is made.")] = "predict read",
    subject: Annotated[str, typer.Option(help="Of whom one is that is made.")] = "local",
) -> Exit | None:
    """Say what the token in use may do; or make one for the stack on this machine, as `make token` does."""
    if action is TokenAction.MAKE:
        return Exit(min(_run_module("scripts.make_token", [scope, "--subject", subject]), Exit.WRONG_USE))
    shown = token_facts(_token_in_use(console))
    with console.client() as client:
        client.models()  # raises if the token is not good
        shown["may"] = [name for name, (method, path, body) in _PROBES.items() if _may(client, method, path, body)]
    if console.as_json:
        console.json(shown)
        return None
    for name, value in shown.items():
        console.out.print(f"{name:10} {', '.join(value) if isinstance(value, list) else value}", markup=False)
    return None


def dev(context: typer.Context) -> None:
    """Serve a model under development: as `python -m inference_worker.dev`, which gets all arguments."""
    raise typer.Exit(_run_module("inference_worker.dev", context.args))


def check(context: typer.Context) -> None:
    """Check a model before it is served: as `python -m inference_worker.check`, which gets all arguments."""
    raise typer.Exit(_run_module("inference_worker.check", context.args))


def _run_module(name: str, arguments: list[str]) -> int:
    """Run a module of Millstream's own, in a process of its own."""
    sys.path.insert(0, "")  # as `python -m` looks for it
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    finally:
        sys.path.remove("")
    if found is None:
        print(f"millstream: this needs {name}, which is no part of the client: {REPOSITORY}", file=sys.stderr)
        return int(Exit.WRONG_USE)
    return subprocess.run([sys.executable, "-m", name, *arguments], check=False).returncode


def token_facts(value: str) -> dict[str, Any]:
    """What a token says of itself, without a look at its signature: that is the server's."""
    if not value:
        return {"token": "none"}
    if value.startswith("msk_"):
        return {"token": "an API key", "id": value.split("_")[1]}
    try:
        part = value.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        known = {name: str(claims[name]) for name in ("iss", "sub", "scope", "models", "tenant") if name in claims}
        expires = {"expires": f"{datetime.fromtimestamp(claims['exp'], UTC):%Y-%m-%d %H:%M:%S} UTC"}
        return {"token": "signed by an issuer", **known, **expires}
    except (IndexError, ValueError, KeyError, TypeError, OverflowError):
        return {"token": "of no form that Millstream knows"}


def _token_in_use(console: Console) -> str:
    return console.connection.headers_of_caller().get("Authorization", "").removeprefix("Bearer ")


def _may(client: Millstream, method: str, path: str, body: Any) -> bool:
    try:
        client.call(method, path, body)
    except NotAllowed:
        return False
    except Refused as error:
        return error.status == 422  # allowed, and then not understood
    return True
