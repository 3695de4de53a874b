"""The deployment under test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.deployed.api import Api

CONNECTIONS = 64


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A client of the deployment that MILLSTREAM_URL names."""
    url = os.environ.get("MILLSTREAM_URL")
    if not url:
        pytest.fail("no deployment is named: make e2e URL=http://localhost:8000")
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(total=90)) as session:
        yield Api(session)
