"""A gateway's view of the registry: followed in Redis, read from Postgres now and then, published if Redis lacks it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.control.registry.store import RegistryStore
from shared.contract.errors import MalformedMessage, StoreUnavailable
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.registry import Registry
from shared.streams.model_registry import ModelRegistry
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

READ_EVERY_S = 30.0


class FollowedRegistry:
    """Keeps a gateway's catalogue as it was decided.

    Attributes:
        looked: whether Redis was looked at: before, it is not known what was registered.
    """

    def __init__(
        self,
        catalogue: LiveCatalogue,
        published: ModelRegistry,
        store: RegistryStore,
        on_change: Callable[[], None],
    ) -> None:
        self._catalogue, self._published, self._store, self._on_change = catalogue, published, store, on_change
        self.looked = False

    async def follow(self) -> None:
        """Look for something newer, and publish what is known if Redis has something older, or nothing.

        Raises:
            StoreUnavailable: Redis cannot be reached; what is known stays.
        """
        try:
            if (await self._published.epoch() or 0) < self._epoch:
                await self._published.publish(self._catalogue.registry)
            elif (registry := await self._published.newer_than(self._epoch)) is not None:
                self._go_over(registry)
        except MalformedMessage as error:
            self._tell(error)
        self.looked = True

    async def read(self) -> None:
        """Read what is stored, if it is newer: what the migrate step has changed is told by nobody else.

        Raises:
            StoreUnavailable: Postgres cannot be reached; what is known stays.
        """
        try:
            registry = await self._store.newer_than(self._epoch)
        except MalformedMessage as error:
            self._tell(error)
        else:
            if registry is not None:
                self._go_over(registry)

    async def changed(self, registry: Registry) -> None:
        """Go over to what was decided here, and tell all others; without Redis they are told when it is back."""
        if registry.epoch > self._epoch:
            self._go_over(registry)
        try:
            await self._published.publish(registry)
        except StoreUnavailable as error:
            ERRORS.labels("gateway", f"{error.store}_{error.reason}").inc()
            log.warning("change of a model not told yet", extra={"store": error.store, "detail": str(error)})

    @property
    def _epoch(self) -> int:
        return self._catalogue.registry.epoch

    def _go_over(self, registry: Registry) -> None:
        self._catalogue.follow(registry)
        self._on_change()
        log.info("models changed", extra={"epoch": registry.epoch})

    def _tell(self, error: MalformedMessage) -> None:
        ERRORS.labels("gateway", error.reason).inc()
        log.error("models not followed", extra={"detail": str(error)})
