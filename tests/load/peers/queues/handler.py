"""The handler in front of each queue: validate, submit, wait, answer."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import orjson
import uvloop
from aiohttp import web

from gateway.api.request_schemas import PredictRequest

RESULT = {"label": "POSITIVE", "confidence": 0.9}
TIMEOUT_S = 20
Submit = Callable[[str], Awaitable[object]]
_SUBMIT: web.AppKey[Submit] = web.AppKey("submit")
Connected = Callable[[str], AbstractAsyncContextManager[Submit]]


def run(connected: Connected, work: Callable[[str], None]) -> None:
    """Be what the command line says.

    Args:
        connected: connects to Redis; yields what submits a text and returns its result.
        work: takes jobs, for ever.
    """
    if sys.argv[1] == "worker":
        work(sys.argv[2])
    else:
        _serve(int(sys.argv[2]), sys.argv[3], connected)


def _serve(port: int, redis_url: str, connected: Connected) -> None:
    async def connect(app: web.Application) -> AsyncIterator[None]:
        async with connected(redis_url) as submit:
            app[_SUBMIT] = submit
            yield

    app = web.Application()
    app.cleanup_ctx.append(connect)
    app.router.add_post("/api/v1/predict", _predict)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


async def _predict(request: web.Request) -> web.Response:
    body = PredictRequest.model_validate_json(await request.read())
    answer = {"model": body.model, "result": await request.app[_SUBMIT](body.text or "")}
    return web.Response(body=orjson.dumps(answer), content_type="application/json")
