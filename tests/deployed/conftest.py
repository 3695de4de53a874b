"""The deployment under test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest

from scripts.gateway import WHO, who_asks
from tests.deployed.api import Api

CONNECTIONS = 64


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A client of the deployment that MILLSTREAM_URL names."""
    url = os.environ.get("MILLSTREAM_URL")
    if not url:
        pytest.fail("no deployment is named: make e2e URL=http://localhost:8000")
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=90)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout, headers=who_asks()) as session:
        async with session.get("/api/v1/models") as answer:
            if answer.status == 401:
                pytest.fail(f"the gateway wants to know who asks: {WHO}; it needs all scopes")
        yield Api(session)
