"""The gateway process: `python -m gateway`."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

from gateway.app import make_app
from gateway.http.connections import possible_connections
from gateway.http.context import CONNECTIONS, DRAIN, LIVENESS
from gateway.settings import GatewaySettings
from shared.service.catalogue_file import load_catalogue
from shared.service.lifecycle import calm_garbage_collector, exit_code
from shared.service.listening import listen
from shared.service.logs import configure_logging
from shared.service.settings import load_settings
from shared.service.stderr import queue_stderr
from shared.service.watchdog import end_if_stuck
from shared.telemetry.metrics import LOG_LINES_DROPPED
from shared.telemetry.tracing import start_tracing


def _main() -> None:
    settings = load_settings(GatewaySettings)
    catalogue = load_catalogue(settings.model_catalogue)
    traces = start_tracing(settings, "gateway")
    configure_logging(settings, "gateway")
    calm_garbage_collector()
    app = make_app(settings, catalogue, traces)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, settings))


def main() -> int:
    """Run the service; returns its exit code."""
    queue_stderr(LOG_LINES_DROPPED.inc)
    return exit_code("gateway", _main)


async def _serve(app: web.Application, settings: GatewaySettings) -> None:
    """Serve until the drain says so, then answer those who wait."""
    app[DRAIN].on_signals()
    end_if_stuck(app[LIVENESS], settings.stall_timeout_s)
    app[CONNECTIONS].most = possible_connections(settings.max_connections)
    runner = web.AppRunner(app, shutdown_timeout=settings.shutdown_grace_s, handler_cancellation=True)
    await runner.setup()
    try:
        assert runner.server is not None
        accept = app[CONNECTIONS].accept_for(runner.server)
        address = settings.gateway_host, settings.gateway_port, "GATEWAY_PORT"
        listener = await listen(accept, *address, backlog=1024)
        await app[DRAIN].over.wait()
        listener.close()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
