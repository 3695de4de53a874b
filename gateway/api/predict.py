"""POST /api/v1/predict and /api/v1/predict/batch: parse, submit, render."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiohttp import web

from gateway.api.queries import PredictQuery
from gateway.api.request_schemas import BatchRequest, PredictRequest
from gateway.api.schemas import prediction_body, queued_body
from gateway.core.caller_limits import Standing
from gateway.core.order import Answer, Input, Order
from gateway.http.bodies import read_body
from gateway.http.cache_control import cache_wish
from gateway.http.context import INTAKE, MODEL, PREDICTION_IDS, PRINCIPAL, PROFILES, SETTINGS, TRACE
from gateway.http.idempotency import fingerprint, key_of
from gateway.http.outcomes import unsuccessful
from gateway.http.preferences import Wait, wait_of
from gateway.http.problems import invalid
from gateway.http.queries import read_query
from gateway.http.rate_limits import rate_limit_headers
from gateway.http.responses import json_response
from gateway.http.timeouts import timeout_ms_of
from shared.contract.callbacks import hosts_of, refusal_of_url
from shared.contract.messages import Status
from shared.telemetry.traceparent import trace_id_of


async def predict(request: web.Request) -> web.Response:
    """Predict for one input."""
    preferences = _preferences(request)
    body = await read_body(request, PredictRequest)
    input_ = _one(body.text, body.input)
    ((prediction_id, finished, note),) = await _submit(request, preferences, body, [input_])
    if finished is None:
        headers = {"Location": f"/api/v1/predictions/{prediction_id}", **preferences.headers}
        return json_response(queued_body(prediction_id, note), status=202, headers=headers)
    if finished.outcome.status is not Status.SUCCEEDED:
        raise unsuccessful(finished, input_)
    return json_response(prediction_body(finished), headers=preferences.headers)


async def predict_batch(request: web.Request) -> web.Response:
    """Predict for several inputs: 200 if all are finished, even if some failed; 202 if some are not."""
    preferences = _preferences(request)
    body = await read_body(request, BatchRequest)
    inputs = _several(body.texts, body.inputs)
    answers = await _submit(request, preferences, body, inputs)
    items = [
        queued_body(each.id, each.note) if each.finished is None else prediction_body(each.finished) for each in answers
    ]
    done = all(each.finished is not None for each in answers)
    return json_response({"items": items}, status=200 if done else 202, headers=preferences.headers)


class _Preferences(NamedTuple):
    headers: dict[str, str]  # of the answer
    wait: Wait
    timeout_ms: int
    idempotency_key: str


def _preferences(request: web.Request) -> _Preferences:
    """What query and headers ask for. (They are checked before the body is read, since it may be long.)"""
    settings = request.app[SETTINGS]
    query = read_query(request, PredictQuery)
    wait = wait_of(query.wait, request.headers.get("Prefer"), settings.default_wait_s)
    return _Preferences(
        headers=dict(wait.headers),
        wait=wait,
        timeout_ms=timeout_ms_of(query.timeout, settings),
        idempotency_key=key_of(request.headers.get("Idempotency-Key")),
    )


async def _submit(
    request: web.Request, preferences: _Preferences, body: PredictRequest | BatchRequest, inputs: Sequence[Input]
) -> list[Answer]:
    request[MODEL] = body.model
    key = preferences.idempotency_key
    traceparent = request.headers.get("traceparent", "")
    order = Order(
        model=body.model,
        version=body.version,
        inputs=inputs,
        options=body.options,
        options_place=("body", "options"),
        wait_s=preferences.wait.seconds,
        timeout_ms=preferences.timeout_ms,
        idempotency_key=key,
        fingerprint=fingerprint(request.path, body) if key else "",
        traceparent=traceparent if trace_id_of(traceparent) else "",
        caller=request[PRINCIPAL],
        limits=request.app[PROFILES].limits(request[PRINCIPAL], body.model),
        cache=cache_wish(request.headers.get("Cache-Control")),
        subject=body.subject or "",
        priority=body.priority,
        tags=body.tags,
        callback_url=_callback(request, body.callback_url),
        trace=request.get(TRACE),
    )

    def note(ids: Sequence[str], standing: Standing | None) -> None:
        request[PREDICTION_IDS] = ids
        if standing is not None:
            preferences.headers.update(rate_limit_headers(*standing))

    return await request.app[INTAKE].submit(order, note)


def _one(text: str | None, value: Any) -> Input:
    _check_one_of("text", text, "input", value)
    return Input(text, ("body", "text")) if text is not None else Input(value, ("body", "input"), sent_as_input=True)


def _several(texts: Sequence[str] | None, values: Sequence[Any] | None) -> list[Input]:
    _check_one_of("texts", texts, "inputs", values)
    if texts is not None:
        return [Input(text, ("body", "texts", index)) for index, text in enumerate(texts)]
    return [Input(each, ("body", "inputs", index), sent_as_input=True) for index, each in enumerate(values or ())]


def _check_one_of(name: str, value: Any, other_name: str, other: Any) -> None:
    if (value is None) == (other is None):
        problem = "Field required" if value is None else "cannot be given together with"
        detail = f"{problem}: `{name}`, or `{other_name}` for other JSON" if value is None else f"{problem} `{name}`"
        raise invalid([(("body", name if value is None else other_name), detail)])


def _callback(request: web.Request, url: str | None) -> str:
    """The URL that a body names.

    Raises:
        ProblemError: 422, nothing may be sent there.
    """
    settings = request.app[SETTINGS]
    if url is None:
        return ""
    hosts = hosts_of(settings.callback_hosts)
    if (refusal := refusal_of_url(url, hosts, private=settings.callback_private_networks)) is not None:
        raise invalid([(("body", "callback_url"), refusal)])
    return url
