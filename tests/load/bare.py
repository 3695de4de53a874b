"""What the gateway is measured against: an aiohttp handler that validates the same body and answers at once."""

from __future__ import annotations

import sys

import orjson
import uvloop
from aiohttp import web

from gateway.api.request_schemas import PredictRequest


async def predict(request: web.Request) -> web.Response:
    """Validate and answer."""
    body = PredictRequest.model_validate_json(await request.read())
    return web.Response(body=orjson.dumps({"model": body.model, "status": "ok"}), content_type="application/json")


async def ready(_: web.Request) -> web.Response:
    """It is."""
    return web.Response()


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/api/v1/predict", predict)
    app.router.add_get("/readyz", ready)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop())
