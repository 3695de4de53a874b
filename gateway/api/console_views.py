"""The bodies of `/api/v1/events`: of what was looked at, the part that a caller may see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.api.schemas import prediction_body, queue_body
from gateway.core.finished import Finished
from gateway.core.principal import Principal, Scope
from gateway.upkeep.feed import Look, QueueLook
from shared.contract.queues import Queue
from shared.streams.workers import Worker

MOST_ITEMS = 10
MOST_RESULT_BYTES = 4096  # a longer one is left out
Rate = Callable[[Queue], float | None]


def views(look: Look, caller: Principal, rate: Rate) -> Mapping[str, bytes]:
    """The bodies as JSON, by the names of their events; `rate` is how many entries leave a queue each second."""
    if caller not in look.shown:
        look.shown[caller] = {name: orjson.dumps(body) for name, body in _views(look, caller, rate).items()}
    return look.shown[caller]


def _views(look: Look, caller: Principal, rate: Rate) -> dict[str, dict[str, Any]]:
    queues = [_queue(each, rate(each.queue)) for each in look.queues if caller.may_use(each.queue.model)]
    found: dict[str, dict[str, Any]] = {
        "queues": {"queues": queues, "results": look.results},
        "workers": {"workers": [_worker(each, caller) for each in look.workers]},
    }
    if caller.may(Scope.ADMIN):
        found["queues"]["dead_letters"] = look.dead_letters
    if caller.may(Scope.READ):
        readable = [each for each in look.finished if caller.may_read(each.principal, each.model)]
        found["predictions"] = {"items": [_item(each) for each in readable[:MOST_ITEMS]]}
    return found


def _queue(look: QueueLook, drains_per_s: float | None) -> dict[str, Any]:
    return {
        "model": look.queue.model,
        "version": look.queue.version,
        "priority": look.queue.priority.value,
        **queue_body(look.depth.entries, drains_per_s),
        "running": look.depth.pending,
        "oldest_s": round(look.depth.oldest_age_s, 1),
        "workers": look.workers,
    }


def _worker(worker: Worker, caller: Principal) -> dict[str, Any]:
    """A worker; the machine that it is on is for administrators."""
    states = {
        label: state.state.value for label, state in worker.states.items() if caller.may_use(label.partition(":")[0])
    }
    return {
        "id": worker.id,
        "host": worker.host if caller.may(Scope.ADMIN) else None,
        "started_at": datetime.fromtimestamp(worker.started_at / 1000, UTC),
        "in_flight": worker.in_flight,
        "states": states,
    }


def _item(finished: Finished) -> dict[str, Any]:
    body = prediction_body(finished)
    if len(finished.outcome.result or b"") > MOST_RESULT_BYTES:
        body["result"] = None
    return body
