"""The gateway process: `python -m gateway`."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

from gateway.app import make_app
from gateway.http.connections import possible_connections
from gateway.http.context import CONNECTIONS, DRAIN
from gateway.settings import GatewaySettings
from shared.contract.errors import ConfigurationError
from shared.service.catalogue_file import load_catalogue
from shared.service.lifecycle import calm_garbage_collector
from shared.service.listening import listen
from shared.service.logs import configure_logging
from shared.service.settings import load_settings
from shared.telemetry.tracing import start_tracing


def main() -> int:
    """Run the service; the exit code is 0 if it was told to stop, 2 for a wrong setting, otherwise 1."""
    try:
        settings = load_settings(GatewaySettings)
        catalogue = load_catalogue(settings.model_catalogue)
        traces = start_tracing(settings, "gateway")
    except ConfigurationError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 2
    configure_logging(settings, "gateway")
    calm_garbage_collector()
    app = make_app(settings, catalogue, traces)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(app, settings))
    except OSError as error:
        print(f"gateway: cannot listen on {settings.gateway_host}:{settings.gateway_port}: {error}", file=sys.stderr)
        return 1
    return 1 if app[DRAIN].failed else 0


async def _serve(app: web.Application, settings: GatewaySettings) -> None:
    """Serve until the drain says so, then answer those who wait."""
    app[DRAIN].on_signals()
    app[CONNECTIONS].most = possible_connections(settings.max_connections)
    runner = web.AppRunner(app, shutdown_timeout=settings.shutdown_grace_s, handler_cancellation=True)
    await runner.setup()
    try:
        assert runner.server is not None
        accept = app[CONNECTIONS].accept_for(runner.server)
        listener = await listen(accept, settings.gateway_host, settings.gateway_port, backlog=1024)
        await app[DRAIN].over.wait()
        listener.close()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
