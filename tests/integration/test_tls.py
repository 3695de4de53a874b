"""The whole pipeline with TLS to both stores, certificates checked: it works, and a certificate of a stranger does not.

The wheels' servers are built without TLS, so this needs the system's (Debian: redis-server, postgresql); where they are
not installed it is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from pydantic import SecretStr

from scripts.stack.binaries import POSTGRES_SYSTEM
from scripts.stack.ports import LOOPBACK, free_port
from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from shared.contract.errors import StoreUnavailable
from shared.service.settings import Settings
from shared.streams.redis_client import PackingTlsConnection, connect
from shared.streams.redis_errors import redis_errors
from tests import certificates
from tests.certificates import Certificates
from tests.conftest import FIXTURES
from tests.processes import REPOSITORY, Service, wait_until

REDIS = shutil.which("redis-server")
POSTGRES = max(POSTGRES_SYSTEM.glob("*/bin"), default=None)
pytestmark = pytest.mark.skipif(
    REDIS is None or POSTGRES is None or not certificates.can_be_made(),
    reason="no servers with TLS are installed (Debian: apt install redis-server postgresql openssl)",
)


class TlsRedis(RedisServer):
    """A Redis that takes nothing but TLS."""

    def __init__(self, directory: Path, port: int, made: Certificates) -> None:
        tls = {"port": "0", "tls-port": str(port), "tls-auth-clients": "no", "tls-ca-cert-file": str(made.authority)}
        tls |= {"tls-cert-file": str(made.certificate), "tls-key-file": str(made.key)}
        assert REDIS is not None
        super().__init__(directory, port, settings=tls, program=Path(REDIS))
        self._context = ssl.create_default_context(cafile=made.authority)

    def is_ready(self, pid: int) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as plain:
                with self._context.wrap_socket(plain, server_hostname=LOOPBACK) as connection:
                    connection.sendall(b"PING\r\n")
                    return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class Stores(NamedTuple):
    """Where the stores are, without what a client needs to check them."""

    redis: str
    postgres: str
    made: Certificates

    @property
    def environment(self) -> dict[str, str]:
        """Settings as a deployment would have them."""
        return {
            "REDIS_URL": f"{self.redis}?ssl_ca_certs={self.made.authority}",
            "DATABASE_URL": f"{self.postgres}?sslmode=verify-full&sslrootcert={self.made.authority}",
            "MODEL_CATALOGUE": str(FIXTURES / "models.toml"),
            "WORKER_MODELS": "echo",
            "LOG_LEVEL": "WARNING",
        }


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("tls")
    made = certificates.make(folder)
    redis = TlsRedis(folder / "redis", free_port(), made)
    settings = {"ssl": "on", "ssl_cert_file": str(made.certificate), "ssl_key_file": str(made.key)}
    postgres = PostgresServer(folder / "pg", free_port(), "secret", settings=settings, programs=POSTGRES)
    try:
        redis.start()
        postgres.start()
        yield Stores(f"rediss://{LOOPBACK}:{redis.port}/0", postgres.url, made)
    finally:
        redis.stop()
        postgres.stop()


def test_the_pipeline_runs_over_tls(stores: Stores, tmp_path: Path) -> None:
    environment = stores.environment
    migrate = [sys.executable, "-m", "migrations"]
    subprocess.run(migrate, cwd=REPOSITORY, env={**os.environ, **environment}, check=True)
    names = {
        "gateway": "GATEWAY_PORT",
        "inference_worker": "WORKER_METRICS_PORT",
        "persister": "PERSISTER_METRICS_PORT",
    }
    ports = {module: free_port() for module in names}
    services = [
        Service(module, ports[module], {**environment, name: str(ports[module])}, tmp_path / f"{module}.log")
        for module, name in names.items()
    ]
    try:
        for each in services:
            each.wait_ready()
        request = urllib.request.Request(
            f"{services[0].url}/api/v1/predict",
            data=b'{"model":"echo","text":"over TLS"}',
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["status"] == "succeeded"
        with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
            count = "SELECT count(*) FROM predictions"
            wait_until(lambda: connection.execute(count).fetchone() == (1,), "the prediction is stored")
            plain = connection.execute(
                "SELECT count(*) FILTER (WHERE NOT ssl), count(*) > 2 FROM pg_stat_ssl "
                "JOIN pg_stat_activity USING (pid) WHERE client_port IS NOT NULL"
            )
            assert plain.fetchone() == (0, True)
    finally:
        for each in services:
            each.stop()


async def test_redis_with_a_certificate_of_a_stranger_is_not_spoken_to(stores: Stores) -> None:
    for path, accepted in ((stores.made.authority, True), (stores.made.stranger, False)):
        client = connect(Settings(redis_url=SecretStr(f"{stores.redis}?ssl_ca_certs={path}")))
        assert client.connection_pool.connection_class is PackingTlsConnection
        try:
            if accepted:
                assert await client.ping()
            else:
                with pytest.raises(StoreUnavailable), redis_errors():
                    await client.ping()
        finally:
            await client.aclose()


def test_postgres_with_a_certificate_of_a_stranger_is_not_spoken_to(stores: Stores) -> None:
    url = f"{stores.postgres}?sslmode=verify-full&sslrootcert={stores.made.stranger}"
    done = subprocess.run(
        [sys.executable, "-m", "migrations"],
        cwd=REPOSITORY,
        env={**os.environ, **stores.environment, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "certificate verify failed" in done.stderr
