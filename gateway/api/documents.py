"""GET /openapi.json: the OpenAPI document, with the models that who asks may use.

It is made again when the models have changed, or what workers say of them. Whatever is wrong with Redis, it is
answered, with what was known last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import orjson
from aiohttp import web

from gateway.api.by_model import Document, Variant, document_of, variants_of
from gateway.core.principal import Principal
from gateway.http.access import caller_of
from gateway.http.assets import File, file_response, packed
from gateway.http.context import AUTHENTICATOR, CATALOGUE, WORKERS
from shared.contract.catalogue import Model
from shared.contract.errors import StoreUnavailable
from shared.contract.schemas import Schemas
from shared.streams.workers import WorkerDirectory

LOOK_EVERY_S = 5.0
LOOK_WITHIN_S = 1.0
MOST_KEPT = 16  # documents, each for callers that may use other models


class Documents:
    """The documents of one application.

    Args:
        base: without models; all that is shown if it has to be known who asks, and is not.
    """

    def __init__(self, base: Document) -> None:
        self._base = base
        self._without_models = packed("application/json", orjson.dumps(base))
        self._looking, self._look_at = asyncio.Lock(), 0.0
        self._told: Mapping[str, Schemas] = {}
        self._shown: tuple[tuple[Model, ...], Mapping[str, Schemas]] = ((), {})
        self._variants: dict[str, list[Variant]] = {}
        self._kept: dict[tuple[str, ...], File] = {}

    async def read(self, request: web.Request) -> web.Response:
        """The document."""
        principal = await caller_of(request)
        document = self._without_models
        if principal is not None and principal.scopes:
            document = await self._for(request.app, principal)
        if request.app[AUTHENTICATOR].required:
            return file_response(request, document, {"Cache-Control": "private, no-cache"}, "Authorization")
        return file_response(request, document, {"Cache-Control": "no-cache"})

    async def _for(self, app: web.Application, principal: Principal) -> File:
        async with self._looking:
            if time.monotonic() >= self._look_at:
                await self._look(app[WORKERS])
            self._follow(app[CATALOGUE].models)
        names = tuple(name for name in self._variants if principal.may_use(name))
        kept = self._kept  # another once models change
        if names not in kept:
            document = document_of(self._base, [each for name in names for each in self._variants[name]])
            made = await asyncio.to_thread(packed, "application/json", orjson.dumps(document))
            if len(kept) >= MOST_KEPT:
                del kept[next(iter(kept))]
            kept[names] = made
        return kept[names]

    async def _look(self, workers: WorkerDirectory) -> None:
        try:
            async with asyncio.timeout(LOOK_WITHIN_S):
                self._told = await workers.schemas()
        except (StoreUnavailable, TimeoutError):
            pass  # what was known stays
        self._look_at = time.monotonic() + LOOK_EVERY_S

    def _follow(self, models: tuple[Model, ...]) -> None:
        if self._shown != (models, self._told):
            self._shown = models, self._told
            self._variants = {each.name: variants_of(each, self._told, self._base) for each in models}
            self._kept = {}
