"""The command: `python -m inference_worker.dev my_models/iris.py:Iris [--reload]`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import orjson
from aiohttp import web
from pydantic import ValidationError

from gateway.http.connections import possible_connections
from gateway.http.context import CONNECTIONS, FEED, LIVENESS, WAITERS
from gateway.settings import GatewaySettings
from gateway.upkeep.feed import LOOK_EVERY_S
from gateway.upkeep.loop import every
from inference_worker.artifact_store.trying import fetch
from inference_worker.check import add_model
from inference_worker.children.forkserver import preload
from inference_worker.dev.application import make_app
from inference_worker.dev.memory import MOST_FINISHED, Memory
from inference_worker.dev.serving import Development
from inference_worker.dev.stand_ins import OneWorker
from inference_worker.lane import Lane
from inference_worker.placement import task_at
from inference_worker.settings import WorkerSettings
from shared.contract.catalogue import Catalogue, Model
from shared.contract.errors import ConfigurationError
from shared.contract.options import CUSTOM_DEFAULT
from shared.contract.schemas import Schemas, schemas_of
from shared.contract.tasks import TASKS
from shared.service.lifecycle import exit_code, run_tasks, stop_on_signals
from shared.service.listening import listen
from shared.service.logs import configure_logging
from shared.service.settings import load_settings

HOST = "127.0.0.1"
_TEXT = "This is great!"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit code: 2 if the model cannot be loaded."""
    parser = argparse.ArgumentParser(prog="python -m inference_worker.dev", description=__doc__)
    add_model(parser)
    parser.add_argument(
        "--option", action="append", default=[], help="name of an option that a class takes; repeatable"
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--reload", action="store_true", help="load it again whenever its code changes")
    given = parser.parse_args(arguments)
    return exit_code("inference_worker.dev", lambda: asyncio.run(_serve(given)))


async def _serve(given: argparse.Namespace) -> None:
    model = model_of(given.task, given.artifact, given.dtype, given.option, given.device)
    code = code_of(model.task) if given.reload else None
    settings = load_settings(GatewaySettings, _env_file=None, auth="off", gateway_port=given.port)
    of_worker = load_settings(WorkerSettings, _env_file=None, expose_model_errors=True, log_format="console")
    configure_logging(of_worker, "dev")
    logging.getLogger("gateway").setLevel(logging.WARNING)  # no line for each request
    preload(with_libraries=model.task in TASKS)
    stop, memory, worker = stop_on_signals(), Memory(), OneWorker()
    with ExitStack() as held:
        location = await fetch(given.artifact, model.task, stop, held)
        if not stop.is_set():
            (served,) = Catalogue(models=(model,)).served()
            tell = _Telling(model, given.port)
            development = Development(of_worker, served, location, code, memory, worker, say, tell.loaded)
            app = make_app(settings, Catalogue(models=(model,)), memory, worker)
            await _until_stopped(stop, app, settings, development)


async def _until_stopped(
    stop: asyncio.Event, app: web.Application, settings: GatewaySettings, development: Development
) -> None:
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    try:
        assert runner.server is not None
        app[CONNECTIONS].most = possible_connections(settings.max_connections)
        port = settings.gateway_port
        listener = await listen(app[CONNECTIONS].accept_for(runner.server), HOST, port, "--port")
        loops = {
            "hints": app[WAITERS].listen(stop),
            "model": development.run(stop),
            "feed": every(LOOK_EVERY_S, app[FEED].turn, stop, "feed", app[LIVENESS]),
        }
        await run_tasks(loops, stop, settings.shutdown_grace_s, app[LIVENESS])
        listener.close()
    finally:
        await runner.cleanup()


def model_of(task: str, artifact: str, dtype: str, options: Sequence[str], device: str = "auto") -> Model:
    """The model under the name of its class, or of its task, with one version, `dev`.

    Raises:
        ConfigurationError: there is no such task, or something else is wrong.
    """
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", task.rpartition(":")[2]).lower().strip("_-") or "model"
    about = {"options": options or CUSTOM_DEFAULT} if task not in TASKS else {}
    version = {
        "version": "dev",
        "artifact": artifact,
        "dtype": dtype,
        "device": device,
        "default": True,
        "processes": 1,
    }
    try:
        return Model.model_validate({"name": name, "task": task, "description": task, "versions": [version], **about})
    except ValidationError as error:
        raise ConfigurationError("; ".join(each["msg"] for each in error.errors())) from None


def code_of(task: str) -> Path:
    """The directory of a class's code.

    Raises:
        ConfigurationError: it is no class of one's own, or there is no such file or module.
    """
    file, _, _ = task_at(task, ".").rpartition(":")
    if not file:
        raise ConfigurationError(f"--reload is for a class of your own, and {task} is built in")
    if file.endswith(".py"):
        return Path(file).parent
    try:
        found = importlib.util.find_spec(file)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise ConfigurationError(f"there is no module {file}")
    return Path(found.origin).parent


def say(line: str) -> None:
    """Tell who develops the model."""
    print(line, flush=True)


class _Telling:
    """Tells once how the model can be asked."""

    def __init__(self, model: Model, port: int) -> None:
        self._model, self._port = model, port
        self._told = False

    def loaded(self, lane: Lane) -> None:
        """Tell it, unless that was done before."""
        if not self._told:
            self._told = True
            say(how_to_ask(self._model, lane.schemas, self._port))


def how_to_ask(model: Model, told: Schemas, port: int) -> str:
    """What to do now: a command that asks the model, with its example if it has one."""
    schemas, address = schemas_of(model.task, told, model.options), f"http://{HOST}:{port}"
    task = TASKS.get(model.task)
    example = schemas.get("example", _TEXT)
    sent = {"text" if isinstance(example, str) and task is not None and task.takes_text else "input": example}
    body = shlex.quote(orjson.dumps({"model": model.name, **sent}).decode())
    return (
        f"{address}/ is a console, {address}/docs shows what can be asked; for example:\n"
        f"  curl -s {address}/api/v1/predict -H 'content-type: application/json' -d {body}\n"
        f"Nothing is stored: predictions are kept in memory, the last {MOST_FINISHED} of them. Ctrl+C ends it."
    )


if __name__ == "__main__":
    sys.exit(main())
