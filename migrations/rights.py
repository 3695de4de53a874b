"""Which service may do what in Postgres: given to its role by the migrate step, after each migration.

A migration that makes a table or a function for a service comes with a line here, which is the only place for it. The
rights are given anew each time, so it does not matter whether a role or a table came first. Workers have none.

A role is made by the migrate step if there is a password for it. Else it is an operator's: the first run of the step
after it was made gives it its rights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal
from pydantic import SecretStr

TABLES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "gateway": {
        "predictions": ("SELECT",),
        "due_callbacks": ("SELECT",),
        "usage": ("SELECT",),
        "experiments": ("SELECT", "INSERT", "UPDATE"),
        "feedback": ("SELECT", "INSERT", "UPDATE"),
        "principals": ("SELECT", "INSERT"),
        "api_keys": ("SELECT", "INSERT", "UPDATE"),
        "audit_log": ("SELECT", "INSERT"),
        "erasures": ("SELECT", "INSERT"),
        "models": ("SELECT", "INSERT", "UPDATE"),
        "model_versions": ("SELECT", "INSERT", "UPDATE"),
        "registry": ("SELECT", "UPDATE"),
        "deployment": ("SELECT",),
    },
    "persister": {
        "predictions": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "feedback": ("SELECT", "DELETE"),
        "erasures": ("SELECT", "UPDATE"),
        "audit_log": ("SELECT", "INSERT"),
        "usage": ("SELECT", "INSERT", "UPDATE"),
        "models": ("SELECT", "INSERT"),
        "model_versions": ("SELECT", "INSERT"),
        "deployment": ("SELECT",),
        "webhooks": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    },
}
FUNCTIONS: Mapping[str, Sequence[str]] = {
    "persister": ("make_predictions_partition(date)", "drop_predictions_partition(date, integer[])"),
}


class Role(NamedTuple):
    """The role of a service; with a password it is made, or given that password."""

    name: str
    password: SecretStr | None = None


def give_rights(connection: psycopg.Connection, roles: Mapping[str, Role]) -> list[str]:
    """Give each role what its service may do, and nothing else of what is declared here, in one transaction.

    Args:
        roles: by service.

    Returns:
        The names of the roles that are not there.

    Raises:
        psycopg.Error: Postgres refuses: only an owner gives rights, and only with CREATEROLE a role is made.
    """
    with connection.transaction():
        for role in roles.values():
            if role.password is not None:
                _make(connection, role.name, role.password.get_secret_value())
        there, owner = _known(connection, [role.name for role in roles.values()])
        given = {service: role.name for service, role in roles.items() if role.name in there - {owner}}
        for name in given.values():
            _take_all(connection, name)
        for service, name in given.items():
            _give(connection, service, name)
    return sorted({role.name for role in roles.values()} - there)


def _make(connection: psycopg.Connection, name: str, password: str) -> None:
    """Make a role, or give it this password; Postgres itself is told only what the password is checked by."""
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    statement = SQL("{} ROLE {} LOGIN PASSWORD {}")
    connection.execute(statement.format(SQL("ALTER" if exists else "CREATE"), Identifier(name), Literal(verifier)))


def _known(connection: psycopg.Connection, names: list[str]) -> tuple[set[str], str]:
    """Those of the roles that are there, and who asks: a service that uses the owner's role has all rights already."""
    rows = connection.execute("SELECT rolname, current_user FROM pg_roles WHERE rolname = ANY(%s)", (names,)).fetchall()
    return {row[0] for row in rows}, rows[0][1] if rows else ""


def _take_all(connection: psycopg.Connection, name: str) -> None:
    for table in sorted(set().union(*TABLES.values())):
        _run(connection, "REVOKE ALL ON TABLE {} FROM {}", Identifier(table), Identifier(name))
    for function in sorted(set().union(*FUNCTIONS.values())):
        _run(connection, "REVOKE ALL ON FUNCTION {} FROM {}", SQL(function), Identifier(name))


def _give(connection: psycopg.Connection, service: str, name: str) -> None:
    row = connection.execute(
        "SELECT current_schema(), has_schema_privilege(%s, current_schema(), 'USAGE')", (name,)
    ).fetchone()
    assert row is not None, "a SELECT without FROM yields a row"
    if not row[1]:
        _run(connection, "GRANT USAGE ON SCHEMA {} TO {}", Identifier(row[0]), Identifier(name))
    for table, rights in TABLES[service].items():
        _run(connection, "GRANT {} ON TABLE {} TO {}", SQL(", ".join(rights)), Identifier(table), Identifier(name))
    for function in FUNCTIONS.get(service, ()):
        _run(connection, "GRANT EXECUTE ON FUNCTION {} TO {}", SQL(function), Identifier(name))


def _run(connection: psycopg.Connection, statement: str, *parts: Composable) -> None:
    connection.execute(SQL(statement).format(*parts))
