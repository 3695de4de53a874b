"""What the native stack runs, how each service is known to be ready, and in which order they are stopped."""

from __future__ import annotations

import enum
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from scripts.stack import prometheus
from scripts.stack.config import StackConfig
from scripts.stack.dotenv import GATEWAYS, POSTGRES_USERS, REDIS_PASSWORD, REDIS_USERS, SECRETS
from scripts.stack.errors import StackError
from scripts.stack.ports import free_port
from scripts.stack.postgres import USER, PostgresServer, database_url
from scripts.stack.probes import http_ready, http_reason
from scripts.stack.redis import AppendFsync, RedisServer, redis_url
from scripts.stack.server import DataServer
from shared.streams.access import OPERATOR, acl_file, password_hash

# The slow model works in a process of its own, so that it never holds up the fast ones.
SLOW_MODEL = "text-summarization:2.0.0"
STORES = frozenset({"DATABASE_URL", "REDIS_URL"})


class Stage(enum.IntEnum):
    """When a service is stopped: the highest first, along the way of a prediction."""

    STORES = 1
    PERSISTER = 2
    WORKERS = 3
    GATEWAY = 4

    @property
    def group(self) -> str:
        """The name of its group in supervisord."""
        return self.name.lower()


@dataclass(frozen=True)
class Service:
    """A process that stays.

    Attributes:
        optional: the stack is ready without it, and goes on if it does not come up.
        environment: what it is told besides the environment of the stack.
        ready: whether the process with that pid answers.
        reason: what it waits for while it is not ready, in its own words; empty if it says nothing.
        prepare: done once, before the stack starts.
        stop_signal: asks it to drain.
        grace_s: seconds it may take to drain.
        start_timeout_s: seconds it may take to become ready.
    """

    name: str
    command: Sequence[str]
    stage: Stage
    optional: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: Path = Path("/")
    port: int | None = None
    ready: Callable[[int], bool] = lambda pid: True
    reason: Callable[[], str] = lambda: ""
    prepare: Callable[[], None] = lambda: None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    start_timeout_s: float = 60.0


@dataclass(frozen=True)
class Task:
    """A process that runs to its end while the stack starts, and must exit with 0.

    Attributes:
        needs_stores: it begins when the stores are ready, else at once.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: Path = Path("/")
    needs_stores: bool = True


@dataclass(frozen=True)
class Stack:
    """All of it: the stores come up first, then the tasks are done, then the services start."""

    stores: Sequence[Service] = ()
    tasks: Sequence[Task] = ()
    services: Sequence[Service] = ()

    @property
    def supervised(self) -> tuple[Service, ...]:
        """What supervisord keeps running, in the order that a person reads it in."""
        return (*self.stores, *self.services)


def native_stack(config: StackConfig) -> Stack:
    """The stack that a configuration describes; Prometheus only if it is installed."""
    port = config.ports["GATEWAY_PORT"]
    gateway = _python(config, "gateway", Stage.GATEWAY, port, gateway_environment(config))
    persister = _python(config, "persister", Stage.PERSISTER, config.ports["PERSISTER_METRICS_PORT"])
    services = [gateway, *_workers(config), persister]
    migrations = [sys.executable, "-m", "migrations"]
    models = [sys.executable, "-m", "models.build"]
    tasks = (
        Task("migrations", migrations, migrate_environment(config), config.root),
        Task("models", models, service_environment(config, ""), config.root, needs_stores=False),
    )
    return Stack(_stores(config), tasks, [*services, *_prometheus(config, services)])


def service_environment(config: StackConfig, user: str, *stores: str) -> dict[str, str]:
    """What a service that uses these stores is told; a user's own setting wins, save for where the stores are.

    Args:
        user: as whom it uses the stores; empty for their operator.
    """
    places = {"DATABASE_URL": _database_url, "REDIS_URL": _redis_url}
    given = {name: value for name, value in config.values.items() if name not in (*SECRETS, *GATEWAYS, *places)}
    ports = {name: str(port) for name, port in config.ports.items()}
    told = {name: places[name](config, user) for name in stores}
    # The log files are read by people.
    return {"LOG_FORMAT": "console", **given, **ports, **told, "PYTHONUNBUFFERED": "1"}


def _database_url(config: StackConfig, user: str) -> str:
    if config.external_database:
        return config.external_database
    port = config.ports["POSTGRES_PORT"]
    if not user:
        return database_url(port, config.password)
    role = config.values.get(f"{user.upper()}_ROLE", f"{USER}_{user}")
    return database_url(port, config.secret(POSTGRES_USERS[user]), role)


def _redis_url(config: StackConfig, user: str) -> str:
    if config.external_redis:
        return config.external_redis
    return redis_url(config.ports["REDIS_PORT"], config.secret(REDIS_USERS[user]), user)


def gateway_environment(config: StackConfig) -> dict[str, str]:
    """What the gateway is told: also the secrets by which it knows who asks."""
    own = {name: config.values[name] for name in GATEWAYS if name in config.values}
    return {**service_environment(config, "gateway", *STORES), **own}


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What every process of the stack is given, the stores too: no password, and not where the stores are."""
    return {name: value for name, value in environ.items() if name not in (*SECRETS, *GATEWAYS, *STORES)}


def _prometheus(config: StackConfig, services: Sequence[Service]) -> list[Service]:
    ports = {"gateway": config.ports["ADMIN_PORT"]}
    targets = [(each.name.split("-")[0], ports.get(each.name, each.port)) for each in services if each.port is not None]
    server = prometheus.server(config, targets)
    if server is None:
        return []
    return [
        Service(
            prometheus.NAME,
            server.command(),
            Stage.GATEWAY,
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
        stores.append(_store(postgres, postgres.prepare_with_password))
    if not config.external_redis:
        redis = RedisServer(
            config.home / "redis",
            config.ports["REDIS_PORT"],
            appendfsync=_appendfsync(config),
            maxmemory=config.values.get("REDIS_MAXMEMORY", "512mb"),
            password=config.secret(REDIS_PASSWORD),
            users=_redis_users(config),
        )
        stores.append(_store(redis, redis.prepare))
    return stores


def _redis_users(config: StackConfig) -> str:
    passwords = {OPERATOR: REDIS_PASSWORD, **REDIS_USERS}
    hashes = {user: password_hash(config.secret(name)) for user, name in passwords.items()}
    return acl_file(config.key_prefix, hashes)


def _store(server: DataServer, prepare: Callable[[], None]) -> Service:
    return Service(
        server.name,
        server.command(),
        Stage.STORES,
        port=server.port,
        prepare=prepare,
        ready=server.is_ready,
        stop_signal=server.stop_signal,
        grace_s=30,
    )


def _appendfsync(config: StackConfig) -> AppendFsync:
    choice = config.values.get("REDIS_APPENDFSYNC", "always")
    if choice not in get_args(AppendFsync):
        raise StackError(f"REDIS_APPENDFSYNC={choice!r} is not one of {', '.join(get_args(AppendFsync))}")
    return cast(AppendFsync, choice)


def _workers(config: StackConfig) -> list[Service]:
    """Two workers for the shipped catalogue; one if the user says what to serve, or has another catalogue."""
    port = config.ports["WORKER_METRICS_PORT"]
    chosen = config.values.get("WORKER_MODELS") or ("*" if config.values.get("MODEL_CATALOGUE") else None)
    if chosen:
        plan = [("worker", chosen, port)]
    else:
        plan = [("worker-summarization", SLOW_MODEL, free_port()), ("worker", f"!{SLOW_MODEL}", port)]
    return [_worker(config, name, models, metrics_port) for name, models, metrics_port in plan]


def _worker(config: StackConfig, name: str, models: str, port: int) -> Service:
    environment = service_environment(config, "worker", "REDIS_URL")
    environment |= {"WORKER_MODELS": models, "WORKER_METRICS_PORT": str(port)}
    return _python(config, name, Stage.WORKERS, port, environment, module="inference_worker", start_timeout_s=600)


def _python(
    config: StackConfig,
    name: str,
    stage: Stage,
    port: int,
    environment: Mapping[str, str] | None = None,
    *,
    module: str | None = None,
    start_timeout_s: float = 120,
) -> Service:
    return Service(
        name,
        [sys.executable, "-m", module or name],
        stage,
        environment=environment or service_environment(config, name, *STORES),
        directory=config.root,
        port=port,
        ready=lambda pid: http_ready(port),
        reason=lambda: http_reason(port),
        grace_s=config.grace_s + 5,  # it ends by itself when its own deadline passes
        start_timeout_s=start_timeout_s,
    )


def migrate_environment(config: StackConfig) -> dict[str, str]:
    """What the migrate step is told: the owner's login, and in a Postgres of our own the passwords of its roles."""
    environment = service_environment(config, "", "DATABASE_URL")
    if config.external_database:
        return environment
    passwords = {f"{user.upper()}_ROLE_PASSWORD": config.secret(name) for user, name in POSTGRES_USERS.items()}
    return {**environment, **passwords}
