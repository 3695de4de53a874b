"""/api/v1/models/{name}/experiment: start, read and stop a model's experiment, and see what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.api.experiment_schemas import ExperimentBody
from gateway.control.experiments.assignment import Arm, Experiment, Shadow
from gateway.control.experiments.results import Copies, Counts
from gateway.control.experiments.store import Record
from gateway.control.experiments.summary import Counted, Summary, summarise
from gateway.core.errors import InvalidOrder, Place, UnknownExperiment, UnknownModel
from gateway.http.bodies import read_body
from gateway.http.context import CATALOGUE, EXPERIMENTS, MODEL, PRINCIPAL, RESULT_COUNTER, RUNNING
from gateway.http.responses import json_response

_PERCENTILES = ("p50", "p95", "p99")


async def start_experiment(request: web.Request) -> web.Response:
    """Start an experiment, in the place of the one that runs; one that is the same goes on as it is."""
    model = _model(request)
    body = await read_body(request, ExperimentBody)
    _check_versions(request, model, body)
    arms = tuple(Arm(arm.called, arm.version, arm.weight) for arm in body.arms)
    shadow = None if body.shadow is None else Shadow(body.shadow.version, body.shadow.share)
    record = await request.app[EXPERIMENTS].start(Experiment("", model, arms, shadow), request[PRINCIPAL].id)
    await request.app[RUNNING].changed()
    return json_response(_info(record))


async def read_experiment(request: web.Request) -> web.Response:
    """The experiment of a model that runs, or else the last one."""
    return json_response(_info(await _newest(request)))


async def stop_experiment(request: web.Request) -> web.Response:
    """Stop the experiment of a model: all requests go to the default version again. Its results stay."""
    model = _model(request)
    if not await request.app[EXPERIMENTS].stop(model, request[PRINCIPAL].id):
        raise UnknownExperiment(model, running=True)
    await request.app[RUNNING].changed()
    return web.Response(status=204)


async def read_results(request: web.Request) -> web.Response:
    """What came of the experiment that runs, or else of the last one."""
    record = await _newest(request)
    experiment = record.experiment
    counts = await request.app[RESULT_COUNTER].count(experiment.id, shadow=experiment.shadow is not None)
    summary = summarise(experiment, counts.arms)
    arms = [_arm_results(experiment, arm, share, counts, summary) for arm, share in _shares(experiment)]
    shadow = _shadow_results(experiment.shadow, counts.copies) if experiment.shadow and counts.copies else None
    about = {
        "requests_examined": counts.rows,
        "complete": counts.complete,
        "sample_ratio_p": summary.sample_ratio_p,
        "valid": summary.valid,
    }
    return json_response({**_info(record), "arms": arms, "shadow": shadow, **about})


def _model(request: web.Request) -> str:
    name = request.match_info["name"]
    known = [each.name for each in request.app[CATALOGUE].models if request[PRINCIPAL].may_use(each.name)]
    if name not in known:
        raise UnknownModel(name, known=known)
    request[MODEL] = name
    return name


async def _newest(request: web.Request) -> Record:
    model = _model(request)
    record = await request.app[EXPERIMENTS].newest(model)
    if record is None:
        raise UnknownExperiment(model)
    return record


def _check_versions(request: web.Request, model: str, body: ExperimentBody) -> None:
    named: list[tuple[Place, str]] = [
        (("body", "arms", number, "version"), arm.version) for number, arm in enumerate(body.arms)
    ]
    if body.shadow is not None:
        named.append((("body", "shadow", "version"), body.shadow.version))
    resolve = request.app[CATALOGUE].resolve
    unknown = [(place, version) for place, version in named if resolve(model, version) is None]
    if unknown:
        raise InvalidOrder([(place, f"{version!r} is no active version of {model!r}") for place, version in unknown])


def _shares(experiment: Experiment) -> Sequence[tuple[Arm, float]]:
    return list(zip(experiment.arms, experiment.shares, strict=True))


def _info(record: Record) -> dict[str, Any]:
    experiment, shadow = record.experiment, record.experiment.shadow
    return {
        "experiment_id": experiment.id,
        "model": experiment.model,
        "arms": [arm._asdict() for arm in experiment.arms],
        "shadow": None if shadow is None else shadow._asdict(),
        "started_at": record.started_at,
        "stopped_at": record.stopped_at,
    }


def _arm_results(experiment: Experiment, arm: Arm, share: float, counts: Counts, summary: Summary) -> dict[str, Any]:
    counted = counts.arms.get(arm.name, Counted())
    means = {metric: moments.ratio for metric, moments in counted.metrics.items()}
    compared = summary.comparisons.get(arm.name)
    return {
        **arm._asdict(),
        "share": share,
        "subjects": counted.subjects,
        "requests": counted.requests,
        "failures": counted.failures,
        "failure_rate": means.get("failure_rate"),
        "latency_ms": _percentiles(counted.latency_ms),
        "mean_latency_ms": _rounded(means.get("latency_ms")),
        "confidence": means.get("confidence"),
        "labels": counted.labels,
        "other_labels": counted.labelled - sum(counted.labels.values()),
        "feedback": counted.feedback,
        "accuracy": means.get("accuracy"),
        "compared": compared and {metric: each._asdict() for metric, each in compared.items()},
    }


def _shadow_results(shadow: Shadow, counted: Copies) -> dict[str, Any]:
    return {
        **shadow._asdict(),
        "copies": counted.copies,
        "failures": counted.failures,
        "latency_ms": _percentiles(counted.latency_ms),
        "compared": counted.compared,
        "agreement": counted.agreed / counted.compared if counted.compared else None,
    }


def _percentiles(values: Sequence[float]) -> dict[str, float] | None:
    return {name: round(value, 1) for name, value in zip(_PERCENTILES, values, strict=True)} if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
