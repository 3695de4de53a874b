"""Fill the tables `models` and `model_versions` from the catalogue file.

Versions that the file no longer has are kept as inactive, since predictions refer to them. What was changed by API
holds until the file says something else of it (`shared.contract.registry.says_of`); versions that were registered by
API and are not in the file stay as they are, and one that is in it from now on is the file's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg

from shared.contract.catalogue import Catalogue, Model, Version
from shared.contract.registry import says_of

_NEXT_EPOCH = "greatest(epoch + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"


def sync_catalogue(connection: psycopg.Connection, catalogue: Catalogue) -> None:
    """Make the tables say what the catalogue says, in one transaction; repeating it changes nothing."""
    with connection.transaction():
        connection.execute("SELECT 1 FROM registry FOR UPDATE")
        decided = _decided(connection)
        kept = [
            _sync_version(connection, *each) for model in catalogue.models for each in _sync_model(connection, model)
        ]
        connection.execute(
            "UPDATE model_versions SET is_active = false, is_default = false "
            "WHERE is_active AND registered_by IS NULL AND id <> ALL(%s)",
            (kept,),
        )
        named = [model.name for model in catalogue.models]
        connection.execute("UPDATE models SET says = '' WHERE says <> '' AND name <> ALL(%s)", (named,))
        if _decided(connection) != decided:
            connection.execute(f"UPDATE registry SET epoch = {_NEXT_EPOCH}")  # nosec B608: of constants


def _sync_model(connection: psycopg.Connection, model: Model) -> list[tuple[int, Version, bool]]:
    """Note a model; returns its id with each version, and whether the file has the say over what is active."""
    says = says_of(model)
    row = connection.execute("SELECT says FROM models WHERE name = %s", (model.name,)).fetchone()
    has_say = row is None or row[0] != says
    model_id = _id(
        connection,
        "INSERT INTO models (name, description, task, worker_group, says) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (name) DO UPDATE SET description = excluded.description, task = excluded.task, "
        "worker_group = excluded.worker_group, says = excluded.says, "
        "generation = models.generation + CASE WHEN models.generation > 0 AND models.says <> excluded.says "
        "THEN 1 ELSE 0 END RETURNING id",
        (model.name, model.description, model.task, model.group, says),
    )
    if has_say:
        connection.execute(
            "UPDATE model_versions SET is_default = false WHERE model_id = %s AND is_default", (model_id,)
        )
    return [(model_id, version, has_say) for version in model.versions]


def _sync_version(connection: psycopg.Connection, model_id: int, version: Version, has_say: bool) -> int:
    return _id(
        connection,
        "INSERT INTO model_versions AS now (model_id, version, artifact_path, is_active, is_default) "
        "VALUES (%(model)s, %(version)s, %(artifact)s, %(active)s, %(default)s) "
        "ON CONFLICT (model_id, version) DO UPDATE SET artifact_path = excluded.artifact_path, entry = NULL, "
        "artifact_digest = NULL, registered_by = NULL, deleted_at = NULL, "
        "is_active = CASE WHEN %(has_say)s THEN excluded.is_active ELSE now.is_active END, "
        "is_default = CASE WHEN %(has_say)s THEN excluded.is_default ELSE now.is_default END RETURNING id",
        {
            "model": model_id,
            "version": version.version,
            "artifact": version.artifact,
            "active": version.active,
            "default": version.default,
            "has_say": has_say,
        },
    )


def _decided(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """What the registry is made of, of the models about which something was decided by API."""
    return connection.execute(
        "SELECT m.name, m.task, m.description, m.worker_group, m.says, m.generation, v.version, v.is_active, "
        "v.is_default, v.registered_by FROM models m LEFT JOIN model_versions v ON v.model_id = m.id "
        "WHERE m.generation > 0 ORDER BY m.name, v.version"
    ).fetchall()


def _id(connection: psycopg.Connection, statement: str, values: Sequence[object] | Mapping[str, object]) -> int:
    row = connection.execute(statement, values).fetchone()
    assert row is not None, "RETURNING yields the row"
    return int(row[0])
