"""What the native stack runs, in which order, and how each is known to be ready."""

from __future__ import annotations

import dataclasses
import http.client
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal, cast, get_args

from scripts.stack import prometheus
from scripts.stack.config import StackConfig
from scripts.stack.errors import StackError
from scripts.stack.ports import LOOPBACK, answers, free_port
from scripts.stack.postgres import PostgresServer, database_url
from scripts.stack.redis import AppendFsync, RedisServer, ping, redis_url

# The slow model works in a process of its own, so that it never holds up the fast ones.
SLOW_MODEL = "text-summarization:2.0.0"
PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Service:
    """One process of the stack.

    Attributes:
        kind: a service stays; a task runs to its end and must exit with 0.
        optional: the stack is ready without it, and goes on where it does not come up.
        depends_on: ready (or done) before this one starts, and stopped after it.
        stops_before: stopped after this one too, though it may start later: its work flows into them.
        ready: whether the process with that pid answers; called in a thread.
        prepare: done before every start, in a thread.
        stop_signal: asks it to drain.
        death_signal: what the kernel sends it when the supervisor is gone.
        grace_s: seconds it may take to drain.
        start_timeout_s: seconds it may take to become ready (or, for a task, done).
    """

    name: str
    command: Sequence[str]
    kind: Literal["service", "task"] = "service"
    optional: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: Path | None = None
    port: int | None = None
    depends_on: tuple[str, ...] = ()
    stops_before: tuple[str, ...] = ()
    ready: Callable[[int], bool] = lambda pid: True
    prepare: Callable[[], None] = lambda: None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    grace_s: float = 10.0
    start_timeout_s: float = 60.0


def stop_levels(services: Sequence[Service]) -> list[list[str]]:
    """Names in the order of stopping: each level is stopped at once, after the level before it is gone.

    Raises:
        StackError: the dependencies form a circle or name nobody.
    """
    after: dict[str, set[str]] = {each.name: set() for each in services}
    for each in services:
        for name in (*each.depends_on, *each.stops_before):
            if name not in after:
                raise StackError(f"{each.name} depends on {name}, which is not part of the stack")
            after[name].add(each.name)
    sorter = TopologicalSorter(after)
    try:
        sorter.prepare()
    except CycleError as error:
        raise StackError(f"services depend on each other in a circle: {error.args[1]}") from None
    levels = []
    while sorter.is_active():
        level = sorted(sorter.get_ready())
        levels.append(level)
        sorter.done(*level)
    return levels


def http_ready(port: int, path: str = "/readyz") -> bool:
    """Whether a local service says that it is ready."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def probe(name: str, port: int) -> bool:
    """Whether a service of the stack answers right now."""
    if name == "postgres":
        return answers(port)
    if name == "redis":
        return ping(port)
    return http_ready(port, "/-/ready") if name == prometheus.NAME else http_ready(port)


def native_stack(config: StackConfig) -> list[Service]:
    """All processes of a stack, in the order that a person reads them in; Prometheus only where it is installed."""
    stores = _stores(config)
    present = {each.name for each in stores}
    environment = service_environment(config)
    workers = _workers(config, environment, present)
    names = tuple(each.name for each in workers)
    gateway = _python(
        config, "gateway", environment, config.ports["GATEWAY_PORT"], present & {"redis"} | {"migrations"}
    )
    persister = _python(
        config, "persister", environment, config.ports["PERSISTER_METRICS_PORT"], present & {"redis"} | {"migrations"}
    )
    return [
        *stores,
        _task(config, "migrations", "migrations", environment, present & {"postgres"}),
        _task(config, "models", "models.build", environment, set()),
        _before(gateway, (*names, "persister")),
        *(_before(worker, ("persister",)) for worker in workers),
        persister,
        *_prometheus(config, [gateway, *workers, persister]),
    ]


def _prometheus(config: StackConfig, services: Sequence[Service]) -> list[Service]:
    targets = [(each.name.split("-")[0], each.port) for each in services if each.port is not None]
    server = prometheus.server(config, targets)
    if server is None:
        return []
    return [
        Service(
            prometheus.NAME,
            server.command(),
            optional=True,
            port=server.port,
            prepare=server.prepare,
            ready=lambda pid: http_ready(server.port, "/-/ready"),
        )
    ]


def _stores(config: StackConfig) -> list[Service]:
    stores = []
    if not config.external_database:
        postgres = PostgresServer(config.home / "postgres", config.ports["POSTGRES_PORT"], config.password)
        stores.append(
            Service(
                "postgres",
                postgres.command(),
                port=postgres.port,
                prepare=postgres.prepare_with_password,
                ready=postgres.is_ready,
                stop_signal=postgres.stop_signal,
                death_signal=postgres.stop_signal,
                grace_s=30,
            )
        )
    if not config.external_redis:
        redis = RedisServer(
            config.home / "redis",
            config.ports["REDIS_PORT"],
            appendfsync=_appendfsync(config),
            maxmemory=config.values.get("REDIS_MAXMEMORY", "512mb"),
        )
        stores.append(
            Service(
                "redis",
                redis.command(),
                port=redis.port,
                prepare=redis.prepare,
                ready=redis.is_ready,
                death_signal=redis.stop_signal,
                grace_s=30,
            )
        )
    return stores


def _appendfsync(config: StackConfig) -> AppendFsync:
    choice = config.values.get("REDIS_APPENDFSYNC", "always")
    if choice not in get_args(AppendFsync):
        raise StackError(f"REDIS_APPENDFSYNC={choice!r} is not one of {', '.join(get_args(AppendFsync))}")
    return cast(AppendFsync, choice)


def service_environment(config: StackConfig) -> dict[str, str]:
    """What every service is told; a setting of the user's own wins, save for where the stores are."""
    urls = {
        "DATABASE_URL": config.external_database or database_url(config.ports["POSTGRES_PORT"], config.password),
        "REDIS_URL": config.external_redis or redis_url(config.ports["REDIS_PORT"]),
    }
    ports = {name: str(port) for name, port in config.ports.items()}
    # The supervisor's log files are read by people.
    return {"LOG_FORMAT": "console", **config.values, **ports, **urls, "PYTHONUNBUFFERED": "1"}


def _workers(config: StackConfig, environment: Mapping[str, str], present: set[str]) -> list[Service]:
    """Two workers for the shipped catalogue; one where the user says what to serve, or has another catalogue."""
    port = config.ports["WORKER_METRICS_PORT"]
    chosen = config.values.get("WORKER_MODELS") or ("*" if config.values.get("MODEL_CATALOGUE") else None)
    if chosen:
        plan = [("worker", chosen, port)]
    else:
        plan = [("worker-summarization", SLOW_MODEL, free_port()), ("worker", f"!{SLOW_MODEL}", port)]
    return [
        _python(
            config,
            name,
            {**environment, "WORKER_MODELS": models, "WORKER_METRICS_PORT": str(metrics_port)},
            metrics_port,
            present & {"redis"} | {"models"},
            module="inference_worker",
            start_timeout_s=600,
        )
        for name, models, metrics_port in plan
    ]


def _python(
    config: StackConfig,
    name: str,
    environment: Mapping[str, str],
    port: int,
    depends_on: set[str],
    *,
    module: str | None = None,
    start_timeout_s: float = 120,
) -> Service:
    return Service(
        name,
        [sys.executable, "-m", module or name],
        environment=environment,
        directory=config.root,
        port=port,
        depends_on=tuple(sorted(depends_on)),
        ready=lambda pid: http_ready(port),
        grace_s=config.grace_s + 5,  # it ends by itself when its own deadline passes
        start_timeout_s=start_timeout_s,
    )


def _task(config: StackConfig, name: str, module: str, environment: Mapping[str, str], depends_on: set[str]) -> Service:
    return Service(
        name,
        [sys.executable, "-m", module],
        kind="task",
        environment=environment,
        directory=config.root,
        depends_on=tuple(sorted(depends_on)),
        start_timeout_s=1800,
    )


def _before(service: Service, names: tuple[str, ...]) -> Service:
    return dataclasses.replace(service, stops_before=names)
