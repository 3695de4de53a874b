"""Fill the tables `models` and `model_versions` from the catalogue, which has the say over what they hold.

Versions that the catalogue no longer has are kept as inactive, since predictions refer to them.
"""

from __future__ import annotations

import psycopg

from shared.contract.catalogue import Catalogue, Model, Version


def sync_catalogue(connection: psycopg.Connection, catalogue: Catalogue) -> None:
    """Make the tables say what the catalogue says, in one transaction; repeating it changes nothing."""
    with connection.transaction():
        connection.execute("UPDATE model_versions SET is_default = false WHERE is_default")
        kept = [_sync_version(connection, model_id, each) for model_id, each in _sync_models(connection, catalogue)]
        connection.execute("UPDATE model_versions SET is_active = false WHERE is_active AND id <> ALL(%s)", (kept,))


def _sync_models(connection: psycopg.Connection, catalogue: Catalogue) -> list[tuple[int, Version]]:
    return [(_sync_model(connection, model), version) for model in catalogue.models for version in model.versions]


def _sync_model(connection: psycopg.Connection, model: Model) -> int:
    return _id(
        connection,
        "INSERT INTO models (name, description, task) VALUES (%s, %s, %s) "
        "ON CONFLICT (name) DO UPDATE SET description = excluded.description, task = excluded.task RETURNING id",
        (model.name, model.description, model.task),
    )


def _sync_version(connection: psycopg.Connection, model_id: int, version: Version) -> int:
    return _id(
        connection,
        "INSERT INTO model_versions (model_id, version, artifact_path, is_active, is_default) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (model_id, version) DO UPDATE SET "
        "artifact_path = excluded.artifact_path, is_active = excluded.is_active, is_default = excluded.is_default "
        "RETURNING id",
        (model_id, version.version, version.artifact, version.active, version.default),
    )


def _id(connection: psycopg.Connection, statement: str, values: tuple[object, ...]) -> int:
    row = connection.execute(statement, values).fetchone()
    assert row is not None, "RETURNING yields the row"
    return int(row[0])
