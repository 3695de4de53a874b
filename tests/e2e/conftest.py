"""The pipeline as processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from scripts.stack.ports import free_port
from tests.access import environment_of
from tests.processes import Service

PORTS = {  # the setting of each service's port
    "gateway": "GATEWAY_PORT",
    "inference_worker": "WORKER_METRICS_PORT",
    "persister": "PERSISTER_METRICS_PORT",
}


class Start(Protocol):
    """Start a service by its module's name, with settings of its own; waits until it is ready, unless told not to."""

    def __call__(self, module: str, *, ready: bool = True, **settings: str) -> Service: ...


# The files whose services count for coverage, beside the gateway of raw_http: being counted doubles what they cost.
_TRACED = ("test_pipeline.py",)


@contextmanager
def services(
    environment: Mapping[str, str], folder: Path, stderr: int | None = None, *, traced: bool = False
) -> Iterator[Start]:
    """Start services for the length of the block, which print to the descriptor `stderr` or each to a file."""
    started: list[Service] = []

    def start(module: str, *, ready: bool = True, **settings: str) -> Service:
        port = free_port()
        own = {**environment_of(module, environment), PORTS[module]: str(port), **settings}
        service = Service(module, port, own, folder / f"{module}-{len(started)}.log", stderr, traced=traced)
        started.append(service)
        if ready:
            service.wait_ready()
        return service

    try:
        yield start
    finally:
        for service in started:
            service.resume()
            service.process.terminate()
        for service in started:
            service.stop()


@pytest.fixture
def start(request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start services that use this test's stores."""
    with services(environment, tmp_path, traced=request.path.name in _TRACED) as start_service:
        yield start_service
