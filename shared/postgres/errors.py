"""What each error of Postgres means: whether it passes, whether its connection is kept, and how to say it.

Postgres's errors have a code of five characters (SQLSTATE), of which the first two are a class. The table has the codes
and classes that say something about the server; any other error is `unknown`: it is told and retried too, since nothing
that Postgres answers may stop a service.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import asyncpg

from shared.contract.errors import PermanentError, StoreUnavailable, is_closed_transport

LONGEST_MESSAGE = 300


class Meaning(NamedTuple):
    """What an error of the server means.

    Attributes:
        reason: a short code, also used in metric labels.
        sentence: for people.
        keep: whether the connection stays in use; otherwise it is closed, since a new one may lead to another server,
            or have other rights and settings.
    """

    reason: str
    sentence: str
    keep: bool = False


SLOW = "slow"
UNKNOWN = Meaning("unknown", "an error that Millstream does not know; see Postgres's log")
_MIGRATE = "the schema is not what this version needs: run the migrate step (make migrate)"
_CONFLICT = Meaning("conflict", "another transaction was in the way", keep=True)
MEANINGS: Mapping[str, Meaning] = {
    "25006": Meaning(
        "read_only",
        "it is read-only: a standby, a primary that was demoted, or default_transaction_read_only is on; DATABASE_URL "
        "must lead to a primary that takes writes",
    ),
    "57P01": Meaning("shutdown", "it is shutting down, or an administrator ended the connection"),
    "57P02": Meaning("shutdown", "it crashed and restarts"),
    "57P03": Meaning("starting", "it accepts no connections now: it starts, recovers or shuts down"),
    "57014": Meaning(SLOW, "a statement took too long and was cancelled", keep=True),
    "55P03": Meaning("locked", "a lock was not free in time", keep=True),
    "40001": _CONFLICT,
    "40P01": _CONFLICT,
    "53300": Meaning(
        "too_many_connections",
        "it has no connection to spare: lower DATABASE_POOL_SIZE, or raise max_connections or the role's limit",
    ),
    "53100": Meaning("disk_full", "its disk is full"),
    "53200": Meaning("out_of_memory", "it is out of memory"),
    "25": Meaning("interrupted", "it ended a transaction that was not done"),
    "53": Meaning("out_of_resources", "it is out of resources"),
    "55": Meaning("not_now", "it is not in a state for that"),
    "3D000": Meaning("no_database", "the database of DATABASE_URL does not exist"),
    "28": Meaning("login_refused", "it refuses the user or the password of DATABASE_URL"),
    "42501": Meaning("no_right", "the user of DATABASE_URL lacks a right"),
    "42P01": Meaning("not_migrated", _MIGRATE),
    "42703": Meaning("not_migrated", _MIGRATE),
    "3F000": Meaning("not_migrated", _MIGRATE),
    "42883": Meaning("not_migrated", _MIGRATE),
    "42704": Meaning("unknown_object", "it does not know something that was named; check the options of DATABASE_URL"),
    "08": Meaning("connection", "the connection failed, or a pooler before it refused it"),
    "57": Meaning("interrupted", "an operator intervened"),
    "58": Meaning("server_error", "its system failed; see its log"),
    "XX": Meaning("server_error", "it failed; see its log"),
}

# The values of a row are refused, and would be again: bad data, a constraint, more than Postgres can hold.
_REJECTED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class RowRejected(PermanentError):
    """Postgres rejects the values of a statement, and would reject them again."""


def meaning_of(sqlstate: str | None) -> Meaning:
    """What an error with this code means."""
    code = sqlstate or ""
    return MEANINGS.get(code) or MEANINGS.get(code[:2]) or UNKNOWN


def said(sqlstate: str | None, message: str) -> str:
    """An error in words: what it means, its code, and what the server said unless that may quote what was stored."""
    meaning = meaning_of(sqlstate)
    words = "" if meaning is UNKNOWN else f": {' '.join(message.split())[:LONGEST_MESSAGE]}"
    return f"{meaning.sentence} (SQLSTATE {sqlstate}{words})"


def keeps_connection(error: BaseException) -> bool:
    """Whether the connection on which this happened is good for more."""
    if isinstance(error, StoreUnavailable):
        return error.reason == SLOW
    if isinstance(error, asyncpg.PostgresError):
        return isinstance(error, _REJECTED) or meaning_of(error.sqlstate).keep
    return not isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError | RuntimeError)


def is_read_only(error: BaseException) -> bool:
    """Whether the session takes no writes."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError) or (
        isinstance(error, StoreUnavailable) and error.reason == MEANINGS["25006"].reason
    )


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Tell errors that may pass (`StoreUnavailable`) from those that never will (`RowRejected`)."""
    try:
        yield
    except _REJECTED as error:
        raise RowRejected("rejected_by_postgres", f"{type(error).__name__}: {error}") from error
    except asyncpg.PostgresError as error:
        meaning, detail = meaning_of(error.sqlstate), said(error.sqlstate, str(error.args[0]))
        raise StoreUnavailable("postgres", f"{type(error).__name__}: {detail}", meaning.reason) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        # InternalClientError: the server announced its shutdown on an idle connection, which was used all the same
        raise StoreUnavailable(
            "postgres", f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE], "connection"
        ) from error
    except RuntimeError as error:
        if is_closed_transport(error):
            raise StoreUnavailable("postgres", "connection cut", "connection") from error
        raise
