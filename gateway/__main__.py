"""The gateway process: `python -m gateway`."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web

from gateway.app import make_app
from gateway.http.context import DRAIN
from gateway.settings import GatewaySettings
from shared.contract.errors import ConfigurationError
from shared.service.catalogue_file import load_catalogue
from shared.service.lifecycle import calm_garbage_collector
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
    loop = uvloop.new_event_loop()
    calm_garbage_collector()
    app = make_app(settings, catalogue, traces)
    app.on_startup.append(_take_signals)
    try:
        web.run_app(
            app,
            host=settings.gateway_host,
            port=settings.gateway_port,
            shutdown_timeout=settings.shutdown_grace_s - settings.drain_delay_s,
            handle_signals=False,
            access_log=None,
            print=None,
            handler_cancellation=True,
            auto_decompress=False,  # a few bytes may unpack to gigabytes: see gateway.http.bodies
            backlog=1024,
            loop=loop,
        )
    except OSError as error:
        print(f"gateway: cannot listen on {settings.gateway_host}:{settings.gateway_port}: {error}", file=sys.stderr)
        return 1
    return 1 if app[DRAIN].failed else 0


async def _take_signals(app: web.Application) -> None:
    app[DRAIN].on_signals()


if __name__ == "__main__":
    sys.exit(main())
