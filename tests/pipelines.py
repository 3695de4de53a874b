"""The pipeline as processes, for all tests of a file: what a client talks to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from tests.conftest import FIXTURES, cloned_database
from tests.e2e.conftest import Start, services
from tests.processes import Service


class Pipeline:
    """One of each service.

    Attributes:
        start: starts more, or again.
        database_url: of its Postgres, for its owner.
    """

    def __init__(self, start: Start, database_url: str, **settings: str) -> None:
        self.start = start
        self.database_url = database_url
        self.gateway = start("gateway", ready=False, **settings)
        self.worker = start("inference_worker", ready=False, WORKER_MODELS="*")
        self.persister = start("persister", ready=False)
        for service in (self.gateway, self.worker, self.persister):
            service.wait_ready()

    @property
    def url(self) -> str:
        """Where the gateway is."""
        return self.gateway.url

    @property
    def services(self) -> tuple[Service, ...]:
        """Its processes."""
        return self.gateway, self.worker, self.persister


@contextmanager
def running_pipeline(
    postgres: PostgresServer, redis: RedisServer, folder: Path, catalogue: str = "client.toml", **settings: str
) -> Iterator[Pipeline]:
    """A pipeline with stores of its own, for the length of the block; settings are the gateway's."""
    with cloned_database(postgres) as url:
        environment = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": url,
            "KEY_PREFIX": f"test-{uuid.uuid4().hex}:",
            "MODEL_CATALOGUE": str(FIXTURES / catalogue),
            "LOG_FORMAT": "console",
        }
        _add_models(url, environment["MODEL_CATALOGUE"])
        with services(environment, folder) as start:
            yield Pipeline(start, url, **settings)


def _add_models(url: str, catalogue: str) -> None:
    from migrations.__main__ import run as run_migrations
    from migrations.settings import MigrateSettings
    from tests.access import ROLE_PASSWORDS

    run_migrations(MigrateSettings(database_url=url, model_catalogue=catalogue, **ROLE_PASSWORDS), 0)
