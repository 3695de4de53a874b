"""Migrate a database to the newest schema, or roll migrations back; safe if two runs start at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import yoyo
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import default_migration_table

log = logging.getLogger(__name__)

DIRECTORY = Path(__file__).parent / "sql"  # nothing but SQL: yoyo takes a .py in its folder for a migration
_LOCK_ID = 0x6D696C6C  # "mill"


class Address(NamedTuple):
    """How to reach the database.

    Attributes:
        timeout_s: for a connection.
    """

    url: str
    timeout_s: float = 10

    def arguments(self) -> dict[str, Any]:
        """The arguments of `psycopg.connect`: through a pooler, a statement that is prepared cannot be found again."""
        connect_timeout = max(2, round(self.timeout_s))  # libpq takes no less
        return {"conninfo": self.url, "connect_timeout": connect_timeout, "prepare_threshold": None}


@contextmanager
def migration_lock(address: Address) -> Iterator[psycopg.Connection]:
    """Hold the lock of the migrate step: a second run waits for the first.

    yoyo has a lock of its own, a row in a table. A run that is killed leaves it behind, and two runs may race to create
    that table. Hence the advisory lock around it, which ends with its transaction: that of a session would stay behind
    in a pooler.

    Raises:
        psycopg.Error: Postgres cannot be reached, or refuses.
    """
    with psycopg.connect(**address.arguments()) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_ID,))
        yield connection


def migrate(address: Address) -> list[str]:
    """Apply the missing migrations, each in its own transaction; call it under `migration_lock`.

    Returns:
        The ids of the migrations applied.
    """
    with _backend(address) as backend:
        pending = backend.to_apply(yoyo.read_migrations(str(DIRECTORY)))
        with backend.lock():
            backend.apply_migrations(pending)
        return [migration.id for migration in pending]


def roll_back(address: Address, steps: int) -> list[str]:
    """Roll back the newest `steps` migrations; call it under `migration_lock`.

    Returns:
        The ids of the migrations rolled back.
    """
    with _backend(address) as backend:
        applied = backend.to_rollback(yoyo.read_migrations(str(DIRECTORY)))[:steps]
        with backend.lock():
            backend.rollback_migrations(applied)
        return [migration.id for migration in applied]


@contextmanager
def _backend(address: Address) -> Iterator[yoyo.backends.DatabaseBackend]:
    """yoyo's connection; yoyo itself would read the URL in a way of its own, and knows no second host."""
    uri = DatabaseURI("postgresql", None, None, None, None, None, address.arguments())
    backend = PostgresqlPsycopgBackend(uri, default_migration_table)
    try:
        backend.init_database()
        backend.break_lock()  # we hold the advisory lock, so whoever left this row is gone
        yield backend
    finally:
        backend.connection.close()
