"""The experiments that run, as this gateway knows them.

Postgres has them. Each change raises an epoch in Redis, which every gateway reads twice a second, so that all have
followed within a second. While Postgres or Redis is unavailable a gateway goes on with what it knows, and without
experiments if it never knew: predicting needs no Postgres.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping, Sequence

from gateway.control.experiments.assignment import Experiment, subject_id
from gateway.control.experiments.shadowing import Shadowing
from gateway.control.experiments.store import ExperimentStore
from gateway.core.assignment import Assignment
from gateway.core.order import Order
from shared.contract.errors import StoreUnavailable
from shared.contract.live_catalogue import LiveCatalogue
from shared.streams.publishing import NewRequest
from shared.streams.registry import EXPERIMENTS, Registry
from shared.telemetry.metrics import ERRORS, EXPERIMENT_REQUESTS

log = logging.getLogger(__name__)

FOLLOW_EVERY_S = 0.5
_READ_EVERY_S = 30.0  # whatever the epoch says: it may have been raised in vain


class RunningExperiments:
    """Assigns orders to the arms of the experiments that run; what the core asks as `Experiments`."""

    def __init__(
        self, store: ExperimentStore, registry: Registry, catalogue: LiveCatalogue, shadowing: Shadowing
    ) -> None:
        self._store = store
        self._registry = registry
        self._catalogue = catalogue
        self._shadowing = shadowing
        self._by_model: Mapping[str, Experiment] = {}
        self._epoch: bytes | str | None = None
        self._known_until = 0.0

    async def follow(self) -> None:
        """Read the experiments if they have changed.

        Raises:
            StoreUnavailable: a store cannot be reached; what was known stays.
        """
        epoch = await self._registry.epoch(EXPERIMENTS)
        if epoch != self._epoch or time.monotonic() >= self._known_until:
            await self._read()
            self._epoch = epoch

    async def changed(self) -> None:
        """Tell all gateways, after a change was committed; without Redis they find it in half a minute."""
        try:
            await self._read()
            await self._registry.changed(EXPERIMENTS)
        except StoreUnavailable as error:
            ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
            log.warning("change of an experiment not told", extra={"store": error.store, "detail": str(error)})

    def assign(self, order: Order) -> Assignment:
        """Decide about an order: one that names a version is part of no experiment."""
        named = subject_id(order.subject) if order.subject else ""
        experiment = self._by_model.get(order.model) if order.version is None else None
        if experiment is None:
            return Assignment(named)
        subject = order.subject or order.caller.id or f"r_{secrets.token_hex(12)}"  # or the request by itself
        arm = experiment.arm_of(subject)
        if self._catalogue.resolve(order.model, arm.version) is None:
            return Assignment(named)  # subjects of this arm will be missed: the results say so
        return Assignment(named or subject, arm.version, experiment.id, arm.name)

    def accepted(self, order: Order, assigned: Assignment, requests: Sequence[NewRequest]) -> None:
        """Count the requests of an order, and copy them for the shadow."""
        experiment = self._by_model.get(order.model)
        if experiment is None or experiment.id != assigned.experiment_id:
            return
        EXPERIMENT_REQUESTS.labels(order.model, assigned.arm).inc(len(requests))
        self._shadowing.copy(experiment, requests)

    async def close(self) -> None:
        """Drop copies that are under way, and forget the experiments."""
        await self._shadowing.close()
        self._replace({})

    async def _read(self) -> None:
        found = await self._store.running()
        self._known_until = time.monotonic() + _READ_EVERY_S
        if found != self._by_model:
            log.info("experiments changed", extra={"experiments": {model: each.id for model, each in found.items()}})
            self._replace(found)

    def _replace(self, experiments: Mapping[str, Experiment]) -> None:
        before, self._by_model = self._by_model, experiments
        for gone in _arms(before) - _arms(self._by_model):
            EXPERIMENT_REQUESTS.remove(*gone)
        for each in _arms(self._by_model):
            EXPERIMENT_REQUESTS.labels(*each)


def _arms(experiments: Mapping[str, Experiment]) -> set[tuple[str, str]]:
    """The models and arms, as labels of metrics."""
    return {(model, arm.name) for model, experiment in experiments.items() for arm in experiment.arms}
