"""What a service needs of its Postgres, asked before it is used: whatever lacks is said in words, and waited for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shared.contract.errors import StoreUnavailable
from shared.postgres.errors import MEANINGS

OLDEST_VERSION = 15
ENCODING = "UTF8"

SERVER = "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding')"
_READ_ONLY = "SELECT current_setting('transaction_read_only') = 'on'"
_MISSING = (
    "SELECT wanted.name || '.' || wanted.part FROM unnest($1::text[], $2::text[]) wanted (name, part) "
    "LEFT JOIN pg_attribute a ON a.attrelid = to_regclass(wanted.name) AND a.attname = wanted.part "
    "AND NOT a.attisdropped WHERE a.attname IS NULL"
)
_NO_RIGHT = (
    "SELECT wanted.part || ' on ' || wanted.name FROM unnest($1::text[], $2::text[]) wanted (name, part) "
    "WHERE NOT has_table_privilege(to_regclass(wanted.name), wanted.part)"
)
_NO_FUNCTION = (
    "SELECT wanted.name, to_regprocedure(wanted.name) IS NULL FROM unnest($1::text[]) wanted (name) "
    "WHERE has_function_privilege(to_regprocedure(wanted.name), 'EXECUTE') IS NOT TRUE"
)


class Need(NamedTuple):
    """What a service needs of a table."""

    columns: tuple[str, ...]
    rights: tuple[str, ...] = ("SELECT",)


def server_problem(version: int, encoding: str) -> tuple[str, str] | None:
    """What is wrong with a server or its database, as reason and sentence; None if it is fit."""
    if version < OLDEST_VERSION:
        return "too_old", f"its version is {version}; Millstream needs {OLDEST_VERSION} or later"
    if encoding != ENCODING:
        how = f"CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0"
        return "encoding", f"the encoding of the database is {encoding}; Millstream needs {ENCODING}: {how}"
    return None


async def check(connection: Any, needs: Mapping[str, Need], *, writes: bool, functions: Sequence[str] = ()) -> None:
    """Check what can be known beforehand.

    Args:
        connection: a connection of asyncpg.
        needs: by table.
        writes: whether the service writes.
        functions: that it runs, with the types of their arguments.

    Raises:
        StoreUnavailable: something lacks.
    """
    problem = server_problem(*await connection.fetchrow(SERVER))
    if problem is None and writes and await connection.fetchval(_READ_ONLY):
        problem = MEANINGS["25006"][:2]
    if problem is None:
        problem = await _schema_problem(connection, needs) or await _function_problem(connection, functions)
    if problem is not None:
        reason, sentence = problem
        raise StoreUnavailable("postgres", sentence, reason)


async def _schema_problem(connection: Any, needs: Mapping[str, Need]) -> tuple[str, str] | None:
    missing = await connection.fetch(
        _MISSING, *_pairs((name, part) for name, need in needs.items() for part in need.columns)
    )
    if missing:
        return "not_migrated", f"{MEANINGS['42P01'].sentence}; it lacks {', '.join(each[0] for each in missing)}"
    lacking = await connection.fetch(
        _NO_RIGHT, *_pairs((name, part) for name, need in needs.items() for part in need.rights)
    )
    if lacking:
        return "no_right", f"{MEANINGS['42501'].sentence}: {', '.join(each[0] for each in lacking)}"
    return None


async def _function_problem(connection: Any, functions: Sequence[str]) -> tuple[str, str] | None:
    for name, is_missing in await connection.fetch(_NO_FUNCTION, list(functions)):
        if is_missing:
            return "not_migrated", f"{MEANINGS['42P01'].sentence}; it lacks {name}"
        return "no_right", f"{MEANINGS['42501'].sentence}: EXECUTE on {name}"
    return None


def _pairs(pairs: Iterator[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Pairs as two columns."""
    names, parts = zip(*pairs, strict=True)
    return list(names), list(parts)
