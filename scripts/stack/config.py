"""What a local stack is made of: ports, folders, secrets, from the environment over `.env` over the defaults.

Only the standard library: the preflight checks run before anything is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.stack import dotenv
from scripts.stack.errors import StackError
from shared.service.secret_files import read_secret

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PORTS = {
    "GATEWAY_PORT": 8000,
    "ADMIN_PORT": 8010,
    "POSTGRES_PORT": 5432,
    "REDIS_PORT": 6379,
    "WORKER_METRICS_PORT": 8001,
    "PERSISTER_METRICS_PORT": 8002,
    "PROMETHEUS_PORT": 9090,
}
DEFAULT_GRACE_S = 30.0


@dataclass(frozen=True)
class StackConfig:
    """One local stack.

    Attributes:
        root: the repository.
        values: every setting given, by its environment name; the environment wins over `.env`.
        ports: port numbers by setting name.
        grace_s: seconds that a service may take to drain.
    """

    root: Path
    values: Mapping[str, str] = field(repr=False)
    ports: Mapping[str, int]
    grace_s: float = DEFAULT_GRACE_S

    @property
    def home(self) -> Path:
        """The folder that everything the stack writes is in."""
        return Path(self.values.get("MILLSTREAM_HOME") or self.root / ".millstream").absolute()

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """supervisord's configuration and socket, the lock, and what `up` wrote down about the stack."""
        return self.home / "run"

    @property
    def external_database(self) -> str | None:
        """A Postgres that is given and therefore not started."""
        return self.values.get("DATABASE_URL")

    @property
    def external_redis(self) -> str | None:
        """A Redis that is given and therefore not started."""
        return self.values.get("REDIS_URL")

    @property
    def key_prefix(self) -> str:
        return self.values.get("KEY_PREFIX", "millstream:")

    @property
    def password(self) -> str:
        """Postgres's password, its operator's.

        Raises:
            StackError: none is set.
        """
        return self.secret(dotenv.PASSWORD)

    def secret(self, name: str) -> str:
        """One of the passwords.

        Raises:
            StackError: it is not set.
        """
        password = self.values.get(name)
        if not password:
            raise StackError(f"{name} is not set: run make env, which writes .env with a fresh one")
        return password

    def listening(self) -> dict[str, int]:
        """The ports that the stack itself must be able to listen on; it does without Prometheus."""
        skipped = {"PROMETHEUS_PORT"}
        skipped |= {"POSTGRES_PORT"} if self.external_database else set()
        skipped |= {"REDIS_PORT"} if self.external_redis else set()
        return {name: port for name, port in self.ports.items() if name not in skipped}


def load(environ: Mapping[str, str], root: Path = ROOT) -> StackConfig:
    """The stack that the environment and `.env` describe; an empty value counts as not given.

    Raises:
        StackError: a number is not one, or two ports are equal.
    """
    given = {**dotenv.read(root / ".env"), **environ}
    values = _with_urls_from_files({name: value for name, value in given.items() if value})
    config = StackConfig(root, values, _ports(values), _seconds(values))
    _check_distinct(config.listening())
    return config


def with_ports(config: StackConfig, ports: Mapping[str, int]) -> StackConfig:
    """The same stack with the ports of a running one: it may have been started with others than `.env` names."""
    return replace(config, ports={**config.ports, **ports})


def _with_urls_from_files(values: Mapping[str, str]) -> dict[str, str]:
    """The same, with the URLs of stores that are in files: whether a store is given decides what is started."""
    found = dict(values)
    for name in ("DATABASE_URL", "REDIS_URL"):
        path = found.pop(f"{name}_FILE", None)
        if path is None:
            continue
        if name in found:
            raise StackError(f"{name} and {name}_FILE are both given: leave one out")
        try:
            found[name] = read_secret(f"{name}_FILE", Path(path))
        except ValueError as error:
            raise StackError(str(error)) from error
    return found


def _ports(values: Mapping[str, str]) -> dict[str, int]:
    ports = {}
    for name, default in DEFAULT_PORTS.items():
        text = values.get(name, str(default))
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
            raise StackError(f"{name}={text!r} is not a port number (1 to 65535)")
        ports[name] = int(text)
    return ports


def _seconds(values: Mapping[str, str]) -> float:
    text = values.get("SHUTDOWN_GRACE_S", str(DEFAULT_GRACE_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise StackError(f"SHUTDOWN_GRACE_S={text!r} is not a number of seconds (above 0, at most 3600)")
    return seconds


def _check_distinct(ports: Mapping[str, int]) -> None:
    users: dict[int, str] = {}
    for name, port in ports.items():
        if port in users:
            raise StackError(f"{users[port]} and {name} are both {port}: give each a port of its own")
        users[port] = name
