"""POST /api/v1/predict and /api/v1/predict/batch: accept, publish, wait, answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import orjson
from aiohttp import web

from gateway.api.schemas import BatchRequest, PredictRequest
from gateway.core.finished import Finished
from gateway.core.waiting import Expectation
from gateway.http.bodies import read_body
from gateway.http.context import GATEWAY, MODEL, PREDICTIONS, Gateway
from gateway.http.idempotency import conflict, fingerprint, key_of
from gateway.http.preferences import Wait, timeout_ms_of, wait_of
from gateway.http.problems import ProblemError, invalid, unavailable
from gateway.http.tracing import PublishSpan
from shared.contract.catalogue import Catalogue, ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.contract.messages import Status
from shared.contract.options import PredictOptions, option_error
from shared.streams.publishing import Group, NewRequest, Published, Verdict
from shared.telemetry.metrics import ERRORS
from shared.telemetry.prediction_log import PredictionLog

_TRACEPARENT = re.compile(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_REFUSALS = {
    Verdict.BACKLOG: "too many requests wait for this model version",
    Verdict.RESULTS: "too many results wait to be stored",
    Verdict.MEMORY: "the queue is short of memory",
}
_RETRY_AFTER_S = 2
predictions = PredictionLog(logging.getLogger(__name__))
_NO_OPTIONS = b"{}"


async def predict(request: web.Request) -> web.Response:
    """Predict on one text."""
    gateway = request.app[GATEWAY]
    wait = wait_of(request.query, request.headers.get("Prefer"), gateway.settings.default_wait_s)
    body = await read_body(request, PredictRequest)
    request[MODEL] = body.model
    served = _resolve(gateway, body.model, body.version, body.options)
    _check_length(gateway, body.text, ("body", "text"))
    ((prediction_id, finished),) = await _submit(gateway, request, served, body, [body.text], wait)
    if finished is None:
        return _accepted(prediction_id, wait)
    if finished.status is not Status.SUCCEEDED:
        raise _unsuccessful(finished)
    return json_response(finished.body(), headers=_applied(wait))


async def predict_batch(request: web.Request) -> web.Response:
    """Predict on several texts: 200 with all finished, though some may have failed; 202 while some are not."""
    gateway = request.app[GATEWAY]
    wait = wait_of(request.query, request.headers.get("Prefer"), gateway.settings.default_wait_s)
    body = await read_body(request, BatchRequest)
    request[MODEL] = body.model
    served = _resolve(gateway, body.model, body.version, body.options)
    limit = gateway.settings.max_batch_texts
    if len(body.texts) > limit:
        raise invalid([(("body", "texts"), f"must have at most {limit} texts, not {len(body.texts)}")])
    for index, text in enumerate(body.texts):
        _check_length(gateway, text, ("body", "texts", index))
    answers = await _submit(gateway, request, served, body, body.texts, wait)
    items = [
        {"prediction_id": prediction_id, "status": Status.QUEUED.value} if finished is None else finished.body()
        for prediction_id, finished in answers
    ]
    done = all(finished is not None for _, finished in answers)
    return json_response({"items": items}, status=200 if done else 202, headers=_applied(wait))


async def _submit(
    gateway: Gateway,
    request: web.Request,
    served: ServedVersion,
    body: PredictRequest | BatchRequest,
    texts: Sequence[str],
    wait: Wait,
) -> list[tuple[str, Finished | None]]:
    """Publish one group and wait for all of it; for each its id, and its prediction if it finished in time.

    Raises:
        ProblemError: 503 refused or Redis away, 409 an idempotency key used with another body.
    """
    _check_capacity(gateway, len(texts))
    key = key_of(request.headers.get("Idempotency-Key"))
    new = _new_requests(gateway, request, texts, body.options, wait)
    publishing = None
    if gateway.traces is not None:
        publishing = PublishSpan(gateway.traces, request, served, new)
        new = publishing.requests
    group = Group(new, key, fingerprint(request.path, body) if key else "")
    ids = [each.id for each in new]
    with gateway.waiters.expect(ids if wait.seconds else []) as expected:
        publish = _publish(gateway, served, group)
        published = await (publish if publishing is None else publishing.around(publish))
        _note_accepted(served, new, published)
        request[PREDICTIONS] = published.earlier or ids
        if not published.earlier:
            return await _results(gateway, ids, expected, wait)
    earlier = published.earlier if wait.seconds else []
    with gateway.waiters.expect(earlier) as expected:
        for each in await _finished(gateway, earlier):
            expected.wake(each.id, each)
        return await _results(gateway, published.earlier, expected, wait)


def _note_accepted(served: ServedVersion, new: Sequence[NewRequest], published: Published) -> None:
    for each in () if published.earlier else new:
        if predictions.wants(each.id):
            predictions.event("accepted", each.id, each.traceparent, model=served.model, version=served.version.version)


async def _publish(gateway: Gateway, served: ServedVersion, group: Group) -> Published:
    try:
        published = await gateway.submissions.submit(served.model, served.version.version, group)
    except StoreUnavailable as error:
        ERRORS.labels("gateway", "redis_unavailable").inc()
        raise unavailable("queue-unavailable", "the queue cannot be reached; try again", _RETRY_AFTER_S) from error
    if published.verdict is Verdict.CONFLICT:
        raise conflict(group.idempotency_key)
    if published.verdict is not Verdict.ACCEPTED:
        ERRORS.labels("gateway", f"refused_{published.verdict}").inc()
        retry_after_s = gateway.drain.retry_after_s(served, published.verdict)
        raise unavailable("overloaded", f"{_REFUSALS[published.verdict]}; try again later", retry_after_s)
    return published


async def _results(
    gateway: Gateway, ids: Sequence[str], expected: Expectation, wait: Wait
) -> list[tuple[str, Finished | None]]:
    """Wait; at the end look once more for those without an answer, since a hint may have been lost."""
    if not wait.seconds:
        return [(each, None) for each in ids]
    found = dict(zip(ids, await expected.results(wait.seconds), strict=True))
    missing = [each for each, finished in found.items() if finished is None]
    if missing:
        found |= {each.id: each for each in await _finished(gateway, missing)}
    return list(found.items())


async def _finished(gateway: Gateway, ids: Sequence[str]) -> Sequence[Finished]:
    try:
        found = await gateway.predictions.finished(ids)
        return [each._replace(input=None) for each in found]  # as when they come by a hint
    except StoreUnavailable as error:  # they were accepted all the same, and the client gets the ids
        ERRORS.labels("gateway", f"{error.store}_unavailable").inc()
        return ()


def _new_requests(
    gateway: Gateway, request: web.Request, texts: Sequence[str], options: PredictOptions | None, wait: Wait
) -> list[NewRequest]:
    timeout_ms = timeout_ms_of(request.query, gateway.settings.request_timeout_s)
    encoded = _NO_OPTIONS if options is None else options.model_dump_json(exclude_unset=True).encode()
    traceparent = request.headers.get("traceparent", "")
    return [
        NewRequest(
            id=gateway.new_id(),
            input=orjson.dumps({"text": text}),
            options=encoded,
            timeout_ms=timeout_ms,
            traceparent=traceparent if _TRACEPARENT.match(traceparent) else "",
            wait=wait.seconds > 0,
        )
        for text in texts
    ]


def _resolve(gateway: Gateway, model: str, version: str | None, options: PredictOptions | None) -> ServedVersion:
    served = gateway.catalogue.resolve(model, version)
    if served is None:
        raise _not_served(gateway.catalogue, model, version)
    wrong = option_error(served.task, options)
    if wrong is not None:
        raise invalid([(("body", "options", wrong[0]), wrong[1])])
    return served


def _not_served(catalogue: Catalogue, model: str, version: str | None) -> ProblemError:
    found = catalogue.find(model)
    if found is None:
        known = ", ".join(each.name for each in catalogue.models)
        return ProblemError(404, "unknown-model", f"there is no model {model!r}; there are: {known}")
    known = ", ".join(each.version for each in found.versions if each.active)
    return ProblemError(404, "unknown-version", f"model {model!r} has no version {version!r}; it has: {known}")


def _check_length(gateway: Gateway, text: str, where: Sequence[str | int]) -> None:
    limit = gateway.settings.max_text_chars
    if len(text) > limit:
        raise invalid([(where, f"must have at most {limit} characters, not {len(text)}")])
    if not text.strip():
        raise invalid([(where, "must not be blank")])


def _check_capacity(gateway: Gateway, count: int) -> None:
    limit = gateway.settings.max_in_flight
    if gateway.closing:
        raise unavailable("stopping", "this gateway is stopping; try again", 1)
    if gateway.waiters.count + count > limit:
        ERRORS.labels("gateway", "refused_in_flight").inc()
        raise unavailable("overloaded", f"this gateway already waits for {limit} predictions", _RETRY_AFTER_S)


def _accepted(prediction_id: str, wait: Wait) -> web.Response:
    location = f"/api/v1/predictions/{prediction_id}"
    return json_response(
        {"prediction_id": prediction_id, "status": Status.QUEUED.value},
        status=202,
        headers={"Location": location, **_applied(wait)},
    )


def _unsuccessful(finished: Finished) -> ProblemError:
    extra = {"prediction_id": finished.id}
    if finished.status is Status.EXPIRED:
        return ProblemError(504, "deadline-passed", finished.error or "the deadline passed", extra=extra)
    return ProblemError(500, "prediction-failed", finished.error or f"it was {finished.status.value}", extra=extra)


def _applied(wait: Wait) -> dict[str, str]:
    return {"Preference-Applied": wait.applied} if wait.applied else {}


def json_response(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")
