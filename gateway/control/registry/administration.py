"""Changing models by API: what may be changed when, and doing it."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from gateway.control.registry.following import FollowedRegistry
from gateway.control.registry.store import RegistryChange, RegistryStore, StoredModel, StoredVersion
from gateway.core.errors import Conflict, InvalidOrder, Outdated, UnknownModel
from gateway.core.principal import Principal
from shared.contract.catalogue import ServedVersion, Version, VersionSettings
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.registry import says_of
from shared.contract.tasks import TASKS, wrong_engine
from shared.contract.version_states import State
from shared.service.artifacts import ArtifactRefused, Sources, open_artifact
from shared.streams.known_streams import KnownStreams
from shared.streams.workers import WorkerDirectory

log = logging.getLogger(__name__)

MOST_REGISTERED = 1000


class Allowed(NamedTuple):
    """What may be registered.

    Attributes:
        sources: where artifacts may be.
        digests: whether inputs can be kept as digests, for which there must be a secret.
    """

    sources: Sources
    digests: bool


class NewVersion(NamedTuple):
    """A version to be registered; task and description are those of a new model."""

    model: str
    settings: VersionSettings
    task: str | None = None
    description: str | None = None
    group: str | None = None


class ModelAdmin:
    """Changes models. Each method lets all gateways and workers know, and raises:

    UnknownModel: there is no such model or version, or who asks may not use it.
    Conflict: it does not fit what is there.
    StoreUnavailable: Postgres, or Redis where it is asked, cannot be reached.
    """

    def __init__(
        self,
        catalogue: LiveCatalogue,
        store: RegistryStore,
        followed: FollowedRegistry,
        workers: WorkerDirectory,
        streams: KnownStreams,
        allowed: Allowed,
    ) -> None:
        self._catalogue, self._store, self._followed = catalogue, store, followed
        self._workers, self._streams, self._allowed = workers, streams, allowed

    async def register(self, by: Principal, new: NewVersion) -> bool:
        """Register a version, inactive; returns False if it is registered already, with the same artifact and settings.

        Raises:
            InvalidOrder: the artifact, the task or the description is wrong, or there is no secret for digests.
        """
        self._check_use(by, new.model)
        if new.settings.store_input == "digest" and not self._allowed.digests:
            raise InvalidOrder(
                [(("body", "store_input"), "there is no secret for digests: set INPUT_DIGEST_SECRET_FILE")]
            )
        try:
            artifact = new.settings.artifact
            found = await asyncio.to_thread(open_artifact, artifact, self._allowed.sources)
        except ArtifactRefused as error:
            raise InvalidOrder([(("body", "artifact"), str(error))]) from None
        async with self._store.changing() as change:
            stored = await self._stored(change, new.model)
            task = _task_of(new, stored)
            if wrong := wrong_engine(task, new.settings.engine):
                raise InvalidOrder([(("body", "engine"), wrong)])
            if _is_there_already(new, stored, found.digest):
                return False
            if await change.count_registered() >= MOST_REGISTERED:
                raise Conflict("too-many-versions", f"{MOST_REGISTERED} versions are registered: delete some")
            model_id = stored.id if stored and stored.is_there else await _add_model(change, new, task)
            await change.add_version(model_id, new.settings.version, new.settings, found.digest, by.id)
            label = f"{new.model}:{new.settings.version}"
            entry = {"digest": found.digest, **new.settings.model_dump(exclude={"version"}, exclude_defaults=True)}
            await change.audit(by.id, "register", label, None, entry)
        await self._tell(change, by, "register", new.model, new.settings.version)
        return True

    async def activate(self, by: Principal, model: str, version: str) -> None:
        """Make a version active: workers load it, and requests may name it."""
        async with self._store.changing() as change:
            stored, found = await self._version(by, change, model, version)
            if not found.is_active:
                await change.set_active(stored.id, version, True)
                await change.audit(by.id, "activate", f"{model}:{version}", "inactive", "active")
        await self._tell(change, by, "activate", model, version)

    async def deactivate(self, by: Principal, model: str, version: str) -> None:
        """Make a version inactive: no request may name it; what waits for it is computed, and then it is unloaded."""
        async with self._store.changing() as change:
            stored, found = await self._version(by, change, model, version)
            if found.is_default:
                detail = f"{version!r} is the default version of {model!r}: make another one the default first"
                raise Conflict("is-default", detail)
            if found.is_active:
                await change.set_active(stored.id, version, False)
                await change.audit(by.id, "deactivate", f"{model}:{version}", "active", "inactive")
        await self._tell(change, by, "deactivate", model, version)

    async def set_default(self, by: Principal, model: str, version: str, generation: int | None) -> None:
        """Make a version the default, if a live worker serves it.

        Args:
            generation: that of the model when it was read; None if it does not matter.

        Raises:
            Outdated: the model was changed since.
        """
        async with self._store.changing() as change:
            stored, found = await self._version(by, change, model, version)
            if generation is not None and generation != stored.generation:
                raise Outdated(model, stored.generation)
            if not found.is_active:
                raise Conflict("not-active", f"{version!r} of {model!r} is not active: activate it first")
            if not found.is_default:
                await self._check_ready(stored, model, found)
                await change.set_default(stored.id, version)
                before = next((each.version for each in stored.versions.values() if each.is_default), None)
                await change.audit(by.id, "default", model, before, version)
        await self._tell(change, by, "default", model, version)

    async def delete(self, by: Principal, model: str, version: str) -> None:
        """Delete a registered version that is inactive, and that nothing waits for."""
        async with self._store.changing() as change:
            stored, found = await self._version(by, change, model, version)
            if not found.is_registered:
                detail = f"{version!r} of {model!r} is in the catalogue file: remove it there"
                raise Conflict("in-catalogue", detail)
            if found.is_active:
                raise Conflict("is-active", f"{version!r} of {model!r} is active: deactivate it first")
            await self._check_unused(stored, model, found)
            await change.delete(stored.id, version)
            await change.audit(by.id, "delete", f"{model}:{version}", found.digest, None)
        await self._tell(change, by, "delete", model, version)

    def _check_use(self, by: Principal, model: str) -> None:
        if not by.may_use(model):
            raise UnknownModel(model)

    async def _stored(self, change: RegistryChange, model: str) -> StoredModel | None:
        """A model, if what Postgres knows of it is what this gateway's catalogue file says."""
        stored, of_file = await change.model(model), self._catalogue.seed.find(model)
        if (stored.says if stored else "") != ("" if of_file is None else says_of(of_file)):
            detail = f"the catalogue file says something else of {model!r} than at the last migrate step: run that step"
            raise Conflict("not-migrated", f"{detail}, and give all services the same file")
        return stored

    async def _version(
        self, by: Principal, change: RegistryChange, model: str, version: str
    ) -> tuple[StoredModel, StoredVersion]:
        self._check_use(by, model)
        stored = await self._stored(change, model)
        if stored is None or not stored.is_there:
            raise UnknownModel(model)
        of_file = self._catalogue.seed.find(model)
        known = {
            each.version: each
            for each in stored.versions.values()
            if (each.is_registered and not each.is_deleted) or (of_file and of_file.find(each.version))
        }
        if version not in known:
            raise UnknownModel(model, version, sorted(known))
        return stored, known[version]

    async def _check_ready(self, stored: StoredModel, model: str, found: StoredVersion) -> None:
        served = _served(stored, model, found)
        told = (await self._workers.states()).get(served.label, {})
        if State.UNLOADED in {each.state for each in told.values()}:
            return  # it is loaded as soon as a request comes
        if not (await self._workers.live([served]))[served.label]:
            detail = f"no live worker serves {served.label}: wait until GET /api/v1/models/{model} says that one does"
            raise Conflict("not-ready", detail)

    async def _check_unused(self, stored: StoredModel, model: str, found: StoredVersion) -> None:
        served = _served(stored, model, found)
        if served.label in await self._streams.with_entries():
            raise Conflict("has-requests", f"requests wait for {served.label}: try again when they have ended")
        if (await self._workers.live([served]))[served.label]:
            raise Conflict("still-served", f"workers are still giving up {served.label}: try again in some seconds")

    async def _tell(self, change: RegistryChange, by: Principal, action: str, model: str, version: str) -> None:
        if change.is_change:
            facts = {"action": action, "model": model, "version": version, "principal": by.id}
            log.info("model changed", extra={**facts, "epoch": change.registry.epoch})
        await self._followed.changed(change.registry)


def _served(stored: StoredModel, model: str, found: StoredVersion) -> ServedVersion:
    """A version, for those who only want to know its name."""
    return ServedVersion(model=model, task=stored.task, version=Version(version=found.version, artifact="unknown"))


def _task_of(new: NewVersion, stored: StoredModel | None) -> str:
    """The task of the model that a version is registered for.

    Raises:
        InvalidOrder: it is not said and not known, or another one is said.
        Conflict: it is a class, of which the catalogue file alone may have versions.
    """
    if stored is not None and stored.is_there:
        if stored.task not in TASKS:
            detail = f"the task of {new.model!r} is a class: the catalogue file alone can name versions of it"
            raise Conflict("custom-task", detail)
        if new.task not in (None, stored.task):
            raise InvalidOrder([(("body", "task"), f"the task of {new.model!r} is {stored.task!r}: leave it out")])
        return stored.task
    missing = [name for name in ("task", "description") if getattr(new, name) is None]
    if new.task is None or missing:
        there_is_none = f"there is no model {new.model!r} yet: say its task and description"
        raise InvalidOrder([(("body", name), there_is_none) for name in missing])
    return new.task


def _is_there_already(new: NewVersion, stored: StoredModel | None, digest: str) -> bool:
    """Whether the same version is registered.

    Raises:
        Conflict: another one has its name, or had it: predictions of it are stored under that.
    """
    name = new.settings.version
    there = stored.versions.get(name) if stored is not None else None
    if there is None:
        return False
    if there.settings is None:
        raise Conflict(
            "version-exists", f"{name!r} of {new.model!r} is, or was, in the catalogue file: take another name"
        )
    if there.digest != digest:
        detail = f"{name!r} of {new.model!r} was registered with another artifact ({there.digest}): take another name"
        raise Conflict("version-exists", detail)
    if there.is_deleted:
        return False
    if there.settings != new.settings:
        detail = f"{name!r} of {new.model!r} is registered with other settings: take another name, or delete it first"
        raise Conflict("version-exists", detail)
    return True


async def _add_model(change: RegistryChange, new: NewVersion, task: str) -> int:
    return await change.add_model(new.model, task, new.description or "", new.group)
