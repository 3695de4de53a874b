"""Migrate a database to the newest schema, or roll migrations back; safe if two runs start at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import yoyo

log = logging.getLogger(__name__)

DIRECTORY = Path(__file__).parent / "sql"  # nothing but SQL: yoyo takes a .py in its folder for a migration
_LOCK_ID = 0x6D696C6C  # "mill"


@contextmanager
def migration_lock(database_url: str) -> Iterator[psycopg.Connection]:
    """Hold the lock of the migrate step: a second run waits for the first.

    yoyo has a lock of its own, a row in a table. A run that is killed leaves it behind, and two runs may race to create
    that table. Hence the advisory lock around it, which ends with its connection.

    Raises:
        psycopg.OperationalError: Postgres cannot be reached.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_ID,))
        yield connection


def migrate(database_url: str) -> list[str]:
    """Apply the missing migrations, each in its own transaction; call it under `migration_lock`.

    Returns:
        The ids of the migrations applied.
    """
    with _backend(database_url) as backend:
        pending = backend.to_apply(yoyo.read_migrations(str(DIRECTORY)))
        with backend.lock():
            backend.apply_migrations(pending)
        return [migration.id for migration in pending]


def roll_back(database_url: str, steps: int) -> list[str]:
    """Roll back the newest `steps` migrations; call it under `migration_lock`.

    Returns:
        The ids of the migrations rolled back.
    """
    with _backend(database_url) as backend:
        applied = backend.to_rollback(yoyo.read_migrations(str(DIRECTORY)))[:steps]
        with backend.lock():
            backend.rollback_migrations(applied)
        return [migration.id for migration in applied]


@contextmanager
def _backend(database_url: str) -> Iterator[yoyo.backends.DatabaseBackend]:
    scheme, _, rest = database_url.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise ValueError(f"DATABASE_URL must start with postgresql://, not {scheme}://")
    backend = yoyo.get_backend(f"postgresql+psycopg://{rest}")
    try:
        backend.break_lock()  # we hold the advisory lock, so whoever left this row is gone
        yield backend
    finally:
        backend.connection.close()
