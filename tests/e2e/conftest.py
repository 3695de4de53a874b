"""The pipeline as processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.stack.ports import free_port
from tests.processes import Service

Start = Callable[..., Service]

_PORTS = {
    "gateway": "GATEWAY_PORT",
    "inference_worker": "WORKER_METRICS_PORT",
    "persister": "PERSISTER_METRICS_PORT",
}


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start services by module name; all are stopped at the end."""
    started: list[Service] = []

    def start_service(module: str, *, ready: bool = True, **settings: str) -> Service:
        port = free_port()
        service = Service(
            module,
            port,
            {**environment, _PORTS[module]: str(port), **settings},
            tmp_path / f"{module}-{len(started)}.log",
        )
        started.append(service)
        if ready:
            service.wait_ready()
        return service

    yield start_service
    for service in started:
        service.resume()
        service.stop()
