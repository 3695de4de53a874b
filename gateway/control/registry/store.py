"""The registry of models in Postgres: all SQL about it.

Each change locks the row of `registry` first, so that changes come one after another, and raises its epoch. That is a
time in ms, so that it rises even after the database was restored from a backup.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from gateway.core.history import History
from shared.contract.audit import told
from shared.contract.catalogue import VersionSettings
from shared.contract.errors import MalformedMessage
from shared.contract.registry import RegisteredModel, RegisteredVersion, Registry
from shared.postgres.audit_log import AuditLog

_READ = """
SELECT r.epoch, m.name, m.task, m.description, m.worker_group, m.generation, m.says,
    v.version, v.is_active, v.is_default, v.entry, v.artifact_digest
FROM registry r LEFT JOIN models m ON m.generation > 0
LEFT JOIN model_versions v ON v.model_id = m.id AND v.deleted_at IS NULL ORDER BY m.name, v.id"""
_MODEL = "SELECT id, task, says, generation FROM models WHERE name = $1"
_VERSIONS = (
    "SELECT version, is_active, is_default, entry, artifact_digest, deleted_at IS NOT NULL AS is_deleted "
    "FROM model_versions WHERE model_id = $1"
)
_ADD_MODEL = (
    "INSERT INTO models (name, task, description, worker_group) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE "
    "SET task = excluded.task, description = excluded.description, worker_group = excluded.worker_group RETURNING id"
)
_ADD_VERSION = (
    "INSERT INTO model_versions (model_id, version, artifact_path, is_active, entry, artifact_digest, registered_by) "
    "VALUES ($1, $2, $3, false, $4, $5, $6) ON CONFLICT (model_id, version) DO UPDATE SET deleted_at = NULL, "
    "entry = excluded.entry, registered_by = excluded.registered_by"
)
_COUNT = "SELECT count(*) FROM model_versions WHERE registered_by IS NOT NULL AND deleted_at IS NULL"
_CHANGED = "UPDATE models SET generation = generation + 1 WHERE id = $1"
_NEXT_EPOCH = "UPDATE registry SET epoch = greatest(epoch + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"


class StoredVersion(NamedTuple):
    """A version as Postgres has it.

    Attributes:
        settings: as registered; None of one that the catalogue file names, or named.
    """

    version: str
    is_active: bool
    is_default: bool
    settings: VersionSettings | None
    digest: str | None
    is_deleted: bool

    @property
    def is_registered(self) -> bool:
        """Whether it was registered by API."""
        return self.settings is not None


class StoredModel(NamedTuple):
    """A model as Postgres has it.

    Attributes:
        says: what the catalogue file said at the last migrate step (`shared.contract.registry.says_of`); empty for a
            model that is not in it.
    """

    id: int
    task: str
    says: str
    generation: int
    versions: dict[str, StoredVersion]

    @property
    def is_there(self) -> bool:
        """Whether it is more than the name of a model that was."""
        return bool(self.says) or any(each.is_registered and not each.is_deleted for each in self.versions.values())


class RegistryStore:
    """Reads and changes the registry, through the connections of the history."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def newer_than(self, epoch: int) -> Registry | None:
        """The registry, if it is newer.

        Raises:
            MalformedMessage: it cannot be read.
            StoreUnavailable: Postgres cannot be reached.
        """
        (row,) = await self._history.fetch("SELECT epoch FROM registry")
        return _registry(await self._history.fetch(_READ)) if row["epoch"] > epoch else None

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[RegistryChange]:
        """A transaction that may change something. What it has changed is `changed`, once the block is left.

        Raises:
            StoreUnavailable: Postgres cannot be reached; nothing was changed, or it is not known whether it was.
        """
        await self._history.ping()
        async with self._history.postgres.connection() as connection, connection.transaction():
            await connection.fetchval("SELECT epoch FROM registry FOR UPDATE")
            change = RegistryChange(connection)
            yield change
            if change.is_change:
                await connection.execute(_NEXT_EPOCH)
            change.registry = _registry(await connection.fetch(_READ))
        change.audit_log.committed()


class RegistryChange:
    """What can be done in one transaction.

    Attributes:
        is_change: whether anything was changed.
        audit_log: tells of what is done.
        registry: all of it, at the end of the transaction.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.is_change = False
        self.audit_log = AuditLog(connection)
        self.registry = Registry()

    async def model(self, name: str) -> StoredModel | None:
        """A model, with all its versions."""
        row = await self._connection.fetchrow(_MODEL, name)
        if row is None:
            return None
        rows = await self._connection.fetch(_VERSIONS, row["id"])
        versions = {each["version"]: _stored(each) for each in rows}
        return StoredModel(row["id"], row["task"], row["says"], row["generation"], versions)

    async def count_registered(self) -> int:
        """How many versions are registered, of all models."""
        return int(await self._connection.fetchval(_COUNT))

    async def add_model(self, name: str, task: str, description: str, group: str | None) -> int:
        """Add a model; returns its id."""
        return int(await self._connection.fetchval(_ADD_MODEL, name, task, description, group))

    async def audit(self, by: str, action: str, target: str, before: object, after: object) -> None:
        """Tell what is changed, from what to what; None if there was, or is, nothing."""
        await self.audit_log.lock()
        was, is_now = (None if each is None else told({"is": each}) for each in (before, after))
        await self.audit_log.add(by, f"model.{action}", target, was, is_now)

    async def add_version(self, model_id: int, version: str, settings: VersionSettings, digest: str, by: str) -> None:
        """Add a version, inactive."""
        entry = settings.model_dump_json(exclude={"version"}, exclude_defaults=True)
        await self._connection.execute(_ADD_VERSION, model_id, version, settings.artifact, entry, digest, by)
        await self._note_change(model_id)

    async def set_active(self, model_id: int, version: str, active: bool) -> None:
        """Make a version active or inactive."""
        await self._connection.execute(
            "UPDATE model_versions SET is_active = $3 WHERE model_id = $1 AND version = $2", model_id, version, active
        )
        await self._note_change(model_id)

    async def set_default(self, model_id: int, version: str) -> None:
        """Make a version the default, in the place of another."""
        await self._connection.execute(
            "UPDATE model_versions SET is_default = false WHERE model_id = $1 AND is_default", model_id
        )
        await self._connection.execute(
            "UPDATE model_versions SET is_default = true WHERE model_id = $1 AND version = $2", model_id, version
        )
        await self._note_change(model_id)

    async def delete(self, model_id: int, version: str) -> None:
        """Delete a registered version; its row stays, for the predictions of it."""
        await self._connection.execute(
            "UPDATE model_versions SET deleted_at = now() WHERE model_id = $1 AND version = $2", model_id, version
        )
        await self._note_change(model_id)

    async def _note_change(self, model_id: int) -> None:
        self.is_change = True
        await self._connection.execute(_CHANGED, model_id)


def _stored(row: Any) -> StoredVersion:
    settings = None if row["entry"] is None else _settings(row)
    return StoredVersion(
        row["version"], row["is_active"], row["is_default"], settings, row["artifact_digest"], row["is_deleted"]
    )


def _settings(row: Any) -> VersionSettings:
    return VersionSettings.model_validate({**orjson.loads(row["entry"]), "version": row["version"]})


def _registry(rows: Sequence[Any]) -> Registry:
    """The registry, of the rows of `_READ`.

    Raises:
        MalformedMessage: an entry cannot be read.
    """
    models = [list(of_one) for name, of_one in groupby(rows, lambda row: row["name"]) if name is not None]
    try:
        return Registry(epoch=rows[0]["epoch"], models=tuple(map(_registered, models)))
    except ValidationError as error:
        raise MalformedMessage("registry", f"the registry cannot be read: {error.errors()[0]['msg']}") from None


def _registered(rows: Sequence[Any]) -> RegisteredModel:
    first, versions = rows[0], [row for row in rows if row["version"] is not None]
    return RegisteredModel(
        name=first["name"],
        task=first["task"],
        description=first["description"],
        group=first["worker_group"],
        generation=first["generation"],
        says=first["says"],
        default=next((row["version"] for row in versions if row["is_default"]), None),
        active=tuple(row["version"] for row in versions if row["entry"] is None and row["is_active"]),
        versions=tuple(
            RegisteredVersion.model_validate(
                {
                    **orjson.loads(row["entry"]),
                    "version": row["version"],
                    "digest": row["artifact_digest"],
                    "active": row["is_active"],
                }
            )
            for row in versions
            if row["entry"] is not None
        ),
    )
