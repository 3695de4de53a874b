"""Gateways in this process, on this test's stores."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestServer
from pytest_aiohttp.plugin import AiohttpClient
from redis.asyncio import Redis

from gateway.app import make_app
from gateway.http.readiness import not_ready
from gateway.settings import GatewaySettings
from scripts.stack.ports import free_port
from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from shared.contract.catalogue import Catalogue
from shared.contract.keys import Keys
from tests.access import database_url_of, redis_url_of, running_redis
from tests.gateways import Client, HandWorker, StartGateway, application_of
from tests.pipelines import Pipeline, running_pipeline
from tests.waiting import eventually

_OTHER_REDIS = shutil.which("redis-server")  # the system's, beside the one of the local stack


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `every_server` on each Redis that is installed."""
    marked = metafunc.definition.get_closest_marker("every_server") is not None
    if marked and _OTHER_REDIS and "redis_server" in metafunc.fixturenames:
        programs = {"stack": None, "redis-server": Path(_OTHER_REDIS)}
        metafunc.parametrize("redis_server", programs.values(), indirect=True, ids=programs, scope="session")


@pytest.fixture
def start_gateway(
    aiohttp_client: AiohttpClient, redis_server: RedisServer, database_url: str, keys: Keys, catalogue: Catalogue
) -> StartGateway:
    """Start a gateway on this test's stores, with settings as keyword arguments; ready unless `ready=False`."""

    async def start(*, ready: bool = True, **changes: Any) -> Client:
        stores = {
            "redis_url": redis_url_of("gateway", redis_server.url),
            "database_url": database_url_of("gateway", database_url),
            "key_prefix": keys.prefix,
        }
        given = {**stores, "model_catalogue": "unused", "admin_port": free_port(), **changes}
        settings = GatewaySettings(**given)
        server = TestServer(make_app(settings, catalogue))
        await server.start_server(auto_decompress=False)  # as gateway.__main__ does
        client = cast(Client, await aiohttp_client(server))
        if ready:
            await eventually(lambda: not_ready(application_of(client)) is None, "the gateway is ready")
        return client

    return start


@pytest.fixture(scope="module")
def pipeline(
    postgres_server: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """A gateway, a worker and a persister in processes, for the tests of a module."""
    with running_pipeline(postgres_server, redis_server, tmp_path_factory.mktemp("pipeline")) as running:
        yield running


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Client:
    """A gateway as it is by default."""
    return await start_gateway()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may kill, pause or spoil; what it has answered is on its disk."""
    with running_redis(tmp_path / "redis", appendfsync="always") as server:
        yield server
        server.resume()


@pytest.fixture
def worker(redis: Redis, keys: Keys) -> HandWorker:
    """A worker for the default version of `echo`."""
    return HandWorker(redis, keys)
