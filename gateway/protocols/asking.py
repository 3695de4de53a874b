"""What the protocols share: an order made of what their clients sent, and its results.

Their clients know no 202: they wait for results. What is not there in time is a 504 with the ids, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from gateway.core.caller_limits import Standing
from gateway.core.errors import Place
from gateway.core.finished import Finished
from gateway.core.order import Answer, Input, Order
from gateway.core.resolution import resolve
from gateway.http.cache_control import cache_wish
from gateway.http.context import CATALOGUE, INTAKE, MODEL, PREDICTION_IDS, PRINCIPAL, PROFILES, SETTINGS, TRACE
from gateway.http.idempotency import fingerprint, key_of
from gateway.http.outcomes import unsuccessful
from gateway.http.problems import ProblemError
from gateway.http.queries import SECONDS, read_query
from gateway.http.rate_limits import rate_limit_headers
from gateway.http.timeouts import TimeoutQuery, timeout_ms_of
from shared.contract.catalogue import ServedVersion
from shared.contract.messages import Status
from shared.telemetry.traceparent import trace_id_of

LONGEST_WAIT_S = 600  # as long as OpenAI's client waits by itself


class AskQuery(TimeoutQuery):
    """How long a client waits."""

    wait: Annotated[float, Field(ge=0.001, le=LONGEST_WAIT_S), SECONDS] = Field(
        LONGEST_WAIT_S, description="seconds to wait for the results; what is not there then is a 504 with the ids"
    )


class Target(NamedTuple):
    """What a request is for.

    Attributes:
        named: the version that it names; None for none: an experiment may choose another than `served`.
    """

    served: ServedVersion
    named: str | None

    def check_task(self, *tasks: str, does: str) -> None:
        """Check that its task is one of these.

        Args:
            does: what it does not, else.

        Raises:
            ProblemError: 400.
        """
        if self.served.task not in tasks:
            wanted = " or ".join(map(repr, tasks))
            detail = f"model {self.served.model!r} {does}: its task is {self.served.task!r}, not {wanted}"
            raise ProblemError(400, "wrong-task", detail)


class Ask(NamedTuple):
    """What a client asks of it.

    Attributes:
        body: as it was sent, for its idempotency key.
        options_place: where the options stand in the body, for error messages.
        timeout_ms: None for what the query says.
        subject: whom the client asks for; '' if it does not say.
    """

    body: BaseModel
    inputs: Sequence[Input]
    options: Mapping[str, Any] | None = None
    options_place: Place = ("body", "parameters")
    timeout_ms: int | None = None
    subject: str = ""


class Results(NamedTuple):
    """The results of an order, one for each input.

    Attributes:
        texts: what the model answered, as JSON.
        tokens: how many were computed.
        headers: those of the response.
    """

    version: str
    ids: Sequence[str]
    texts: Sequence[bytes]
    tokens: int
    headers: Mapping[str, str]

    def values(self) -> list[Any]:
        """The texts, parsed."""
        return [orjson.loads(each) for each in self.texts]


def target_of(request: web.Request, name: str, version: str | None = None) -> Target:
    """What a request is for; its model is noted.

    Args:
        name: of the model, or `name@version`.

    Raises:
        UnknownModel: there is none, or the caller may not know of it.
    """
    if version is None:
        name, at, named = name.partition("@")
        version = named if at else None
    request[MODEL] = name
    return Target(resolve(request.app[CATALOGUE], request[PRINCIPAL], name, version), version)


async def results_of(request: web.Request, target: Target, ask: Ask) -> Results:
    """Submit an order, and wait for its results.

    Raises:
        ProblemError: 504 not all are there in time; the error of the first that did not succeed.
        CoreError: as `Intake.submit`.
    """
    query = read_query(request, AskQuery)
    headers: dict[str, str] = {}

    def note(ids: Sequence[str], standing: Standing | None) -> None:
        request[PREDICTION_IDS] = ids
        if standing is not None:
            headers.update(rate_limit_headers(*standing))

    answers = await request.app[INTAKE].submit(_order(request, target, ask, query), note)
    finished = _all_finished(answers, query.wait)
    for each, sent in zip(finished, ask.inputs, strict=True):
        if each.outcome.status is not Status.SUCCEEDED:
            raise _failed(each, sent, ask, answers)
    texts = [each.outcome.result or b"null" for each in finished]
    tokens = sum(each.outcome.tokens for each in finished)
    return Results(finished[0].version, [each.id for each in answers], texts, tokens, headers)


def _order(request: web.Request, target: Target, ask: Ask, query: AskQuery) -> Order:
    model = target.served.model
    key = key_of(request.headers.get("Idempotency-Key"))
    traceparent = request.headers.get("traceparent", "")
    return Order(
        model=model,
        version=target.named,
        inputs=ask.inputs,
        options=ask.options,
        options_place=ask.options_place,
        wait_s=query.wait,
        timeout_ms=ask.timeout_ms or timeout_ms_of(query.timeout, request.app[SETTINGS]),
        idempotency_key=key,
        fingerprint=fingerprint(request.path, ask.body) if key else "",
        traceparent=traceparent if trace_id_of(traceparent) else "",
        caller=request[PRINCIPAL],
        limits=request.app[PROFILES].limits(request[PRINCIPAL], model),
        cache=cache_wish(request.headers.get("Cache-Control")),
        subject=ask.subject,
        trace=request.get(TRACE),
    )


def _all_finished(answers: Sequence[Answer], waited_s: float) -> list[Finished]:
    finished = [each.finished for each in answers if each.finished is not None]
    if len(finished) < len(answers):
        notes = {each.note for each in answers if each.note}
        raise ProblemError(
            504,
            "not-finished",
            f"{len(answers) - len(finished)} of {len(answers)} predictions are not finished after {waited_s:g} s. They "
            "go on: GET /api/v1/predictions/ with their ids in `prediction_ids`, rather than asking again"
            + "".join(f"; {note}" for note in sorted(notes)),
            extra={"prediction_ids": [each.id for each in answers]},
        )
    return finished


def _failed(finished: Finished, sent: Input, ask: Ask, answers: Sequence[Answer]) -> ProblemError:
    problem = unsuccessful(finished, sent, ask.options_place)
    if len(answers) > 1:
        problem.extra = {**problem.extra, "prediction_ids": [each.id for each in answers]}
    return problem
