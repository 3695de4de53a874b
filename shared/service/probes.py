"""The HTTP server for who runs a service: `/metrics`, `/livez`, `/readyz`. Worker and persister have no other.

Whoever reaches it is not asked who they are: it is for the machine, or the cluster, alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from shared.service.listening import listen
from shared.service.liveness import Liveness

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LAST_ANSWERS_S = 1.0
_TURN_S = 60.0


async def serve_probes(
    host: str,
    port: int,
    setting: str,
    liveness: Liveness,
    not_ready: Callable[[], str | None],
    stop: asyncio.Event,
    before_scrape: Callable[[], Awaitable[None]] | None = None,
    pages: Mapping[str, Page] | None = None,
) -> None:
    """Serve until `stop` is set, as the loop "probes".

    Args:
        setting: the one that chooses the port.
        not_ready: returns why the process is not ready, or None if it is.
        before_scrape: brings metrics up to date.
        pages: what is to be read besides, by path.

    Raises:
        ConfigurationError: it cannot listen there, for example since the port is taken.
    """

    async def livez(_: web.Request) -> web.Response:
        stalled = liveness.stalled()
        body = {"status": "stalled" if stalled else "ok", "stalled_s": stalled, "turns": liveness.turns}
        return web.json_response(body, status=503 if stalled else 200)

    async def readyz(_: web.Request) -> web.Response:
        reason = "stopping" if stop.is_set() else not_ready()
        body = {"status": "not ready", "reason": reason} if reason else {"status": "ok"}
        return web.json_response(body, status=503 if reason else 200)

    async def metrics(request: web.Request) -> web.StreamResponse:
        if before_scrape is not None:
            await before_scrape()
        return await render(request)

    render = make_aiohttp_handler(disable_compression=True)
    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", livez),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            *(web.get(path, page) for path, page in (pages or {}).items()),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_ANSWERS_S)
    await runner.setup()
    try:
        assert runner.server is not None
        listener = await listen(runner.server, host, port, setting)
        while not await liveness.wait("probes", stop, _TURN_S):
            pass
        listener.close()
    finally:
        await runner.cleanup()
