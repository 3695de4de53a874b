"""The stack of the preview: real services over real stores, with a real Prometheus that scrapes every second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.stack import prometheus
from scripts.stack.ports import free_port
from scripts.stack.postgres import PostgresServer, running_postgres
from scripts.stack.probes import http_ready
from scripts.stack.prometheus import PrometheusServer
from scripts.stack.redis import running_redis
from shared.contract.ids import principal_id
from tests.processes import REPOSITORY, Service, wait_until
from tests.tokens import AUDIENCE, ISSUER, token

PREFIX = "millstream:"
SECRET = "the secret of the tokens of a preview"
SIGNED = {"AUTH": "required", "JWT_SECRET": SECRET, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
_PROFILES = """
[profiles.default]
requests = {quota = 60_000, window_s = 60}
[profiles.small]
requests = {quota = 5, window_s = 60}
"""
_JOBS = {"gateway": "gateway", "inference_worker": "worker", "persister": "persister"}
_PORTS = {
    "gateway": "GATEWAY_PORT",
    "inference_worker": "WORKER_METRICS_PORT",
    "persister": "PERSISTER_METRICS_PORT",
}
# name: module, settings of its own
_SERVICES = {
    "gateway": ("gateway", {"MAX_BACKLOG": "400", "CACHE_SECRET": "the secret of the cache of a preview", **SIGNED}),
    "worker": ("inference_worker", {"WORKER_MODELS": "sentiment"}),
    "second-worker": ("inference_worker", {"WORKER_MODELS": "sentiment"}),
    "summary-worker": ("inference_worker", {"WORKER_MODELS": "summary"}),
    "persister": ("persister", {}),
}


@dataclass
class System:
    """What runs."""

    environment: dict[str, str]
    folder: Path
    postgres: PostgresServer
    ports: dict[str, int]
    metrics_ports: dict[str, int]
    services: dict[str, Service]
    prometheus_url: str = ""

    @property
    def gateway_url(self) -> str:
        return self.services["gateway"].url

    def start(self, name: str) -> None:
        """Start a service, on the port that is its own."""
        module, settings = _SERVICES[name]
        port = self.ports[name]
        own = {**self.environment, _PORTS[module]: str(port), "ADMIN_PORT": str(self.metrics_ports[name]), **settings}
        self.services[name] = Service(module, port, own, self.folder / f"{name}.log")


def credentials(name: str) -> dict[str, str]:
    """The headers of a caller of this name, who may do everything."""
    return {"Authorization": f"Bearer {token(SECRET.encode(), sub=name, scope='predict read read:all admin')}"}


@contextmanager
def system(folder: Path) -> Iterator[System]:
    """Everything, for the length of the block."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres(folder / "postgres"))
        redis = stack.enter_context(running_redis(folder / "redis", maxmemory="64mb"))
        environment = {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "KEY_PREFIX": PREFIX,
            "MODEL_CATALOGUE": str(REPOSITORY / "tests/preview/models.toml"),
            "LOG_LEVEL": "WARNING",
            "VISIBILITY_TIMEOUT_MS": "3000",
            "CLAIM_INTERVAL_MS": "500",
            "HEARTBEAT_TTL_S": "5",
            "HEARTBEAT_INTERVAL_S": "1",
            "SHUTDOWN_GRACE_S": "3",
            "DATABASE_TIMEOUT_S": "2",
            "DRIFT_INTERVAL_S": "5",
            "DRIFT_WINDOW": "200",
        }
        profiles = folder / "limits.toml"
        profiles.write_text(f'{_PROFILES}[principals]\n{principal_id(ISSUER, "greedy")} = "small"\n', encoding="utf-8")
        environment["LIMIT_PROFILES"] = str(profiles)
        migrate = [sys.executable, "-m", "migrations"]
        subprocess.run(migrate, cwd=REPOSITORY, env={**os.environ, **environment}, check=True)
        ports = {name: free_port() for name in _SERVICES}
        made = System(environment, folder, postgres, ports, {**ports, "gateway": free_port()}, {})
        stack.callback(lambda: [each.stop(10) for each in made.services.values()])
        for name in _SERVICES:
            made.start(name)
        for each in list(made.services.values()):
            each.wait_ready()
        made.prometheus_url = stack.enter_context(_prometheus(folder, made))
        yield made


@contextmanager
def _prometheus(folder: Path, made: System) -> Iterator[str]:
    program = prometheus.program()
    if program is None:
        raise SystemExit("Prometheus is not installed (Debian: apt install prometheus)")
    targets = tuple((_JOBS[_SERVICES[name][0]], port) for name, port in made.metrics_ports.items())
    server = PrometheusServer(program, REPOSITORY / "monitoring", folder / "prometheus", free_port(), targets)
    server.prepare()
    file = server.directory / "prometheus.yml"
    text = file.read_text(encoding="utf-8")
    for slow, fast in (
        ("interval: 5s", "interval: 1s"),
        ("timeout: 4s", "timeout: 1s"),
        ("interval: 15s", "interval: 2s"),
    ):
        text = text.replace(slow, fast)
    file.write_text(text, encoding="utf-8")
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(server.command(), stdout=log, stderr=log)
    try:
        wait_until(lambda: http_ready(server.port, "/-/ready"), "Prometheus is ready")
        yield f"http://127.0.0.1:{server.port}"
    finally:
        process.terminate()
        process.wait(10)
