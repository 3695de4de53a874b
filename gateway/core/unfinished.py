"""Listing predictions that are not finished, of what the caller may read."""

from __future__ import annotations

from gateway.core.errors import UnknownModel
from gateway.core.principal import Principal, Scope
from shared.contract.live_catalogue import LiveCatalogue
from shared.streams.known_streams import KnownStreams
from shared.streams.shard import Shard
from shared.streams.waiting import Page, WaitingList, Wanted


class Unfinished:
    """Lists them."""

    def __init__(self, shard: Shard, catalogue: LiveCatalogue, known: KnownStreams) -> None:
        self._list = WaitingList(shard)
        self._catalogue = catalogue
        self._known = known

    async def page(self, caller: Principal, model: str | None, version: str | None, wanted: Wanted, limit: int) -> Page:
        """A page, newest first.

        Raises:
            UnknownModel: there is no such model, or the caller may not use it.
            StoreUnavailable: Redis cannot be reached.
        """
        of_all = Scope.READ_ALL in caller.scopes
        if not of_all and not caller.id:
            return Page([], None)  # what nobody is known to have asked for is not anybody's own
        queues = [
            queue
            for queue in await self._known.queues()
            if model in (None, queue.model) and version in (None, queue.version) and caller.may_use(queue.model)
        ]
        if model is not None and not queues and not (caller.may_use(model) and self._catalogue.find(model)):
            raise UnknownModel(model)
        return await self._list.page(queues, wanted._replace(principal="" if of_all else caller.id), limit)
