"""POST /api/v1/predictions/{id}/feedback: what the caller has found out about an answer."""

from __future__ import annotations

from aiohttp import web

from gateway.api.experiment_schemas import FeedbackBody
from gateway.core.errors import UnknownPrediction
from gateway.http.bodies import read_body
from gateway.http.context import EXPERIMENTS, PRINCIPAL, WAITERS


async def give_feedback(request: web.Request) -> web.Response:
    """Say whether an answer was right, or what would have been; again, to say otherwise."""
    prediction_id = request.match_info["prediction_id"].lower()
    caller = request[PRINCIPAL]
    body = await read_body(request, FeedbackBody)
    found = await request.app[WAITERS].read(prediction_id, 0, caller)
    if found.principal != caller.id:  # whoever may read it is not who asked for it
        raise UnknownPrediction(prediction_id)
    await request.app[EXPERIMENTS].give_feedback(prediction_id, body.correct, body.label, caller.id)
    return web.Response(status=204)
