"""The table of Postgres's errors: what passes, what keeps its connection, and what people are told."""

from __future__ import annotations

import asyncpg
import pytest

from shared.contract.errors import StoreUnavailable
from shared.postgres.errors import MEANINGS, UNKNOWN, RowRejected, keeps_connection, meaning_of, postgres_errors, said

REASONS = {
    "25006": ("read_only", False),
    "57P01": ("shutdown", False),
    "57P02": ("shutdown", False),
    "57P03": ("starting", False),
    "57P05": ("interrupted", False),
    "25P03": ("interrupted", False),
    "57014": ("slow", True),
    "55P03": ("locked", True),
    "55000": ("not_now", False),
    "40001": ("conflict", True),
    "40P01": ("conflict", True),
    "53300": ("too_many_connections", False),
    "53100": ("disk_full", False),
    "53200": ("out_of_memory", False),
    "53400": ("out_of_resources", False),
    "3D000": ("no_database", False),
    "28P01": ("login_refused", False),
    "28000": ("login_refused", False),
    "42501": ("no_right", False),
    "42P01": ("not_migrated", False),
    "42703": ("not_migrated", False),
    "42704": ("unknown_object", False),
    "08006": ("connection", False),
    "08P01": ("connection", False),
    "58030": ("server_error", False),
    "XX000": ("server_error", False),
    "P0001": ("unknown", False),
    "99999": ("unknown", False),
}


def raised(sqlstate: str, message: str = "the server's words") -> asyncpg.PostgresError:
    """The error that the driver raises for this code."""
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": sqlstate, "M": message})
    error.sqlstate = sqlstate
    return error


@pytest.mark.parametrize("sqlstate", REASONS)
def test_an_error_of_the_server_is_told_and_passes(sqlstate: str) -> None:
    reason, keep = REASONS[sqlstate]
    error = raised(sqlstate)
    with pytest.raises(StoreUnavailable) as told, postgres_errors():
        raise error
    assert (told.value.store, told.value.reason) == ("postgres", reason)
    assert meaning_of(sqlstate).sentence in str(told.value) and sqlstate in str(told.value)
    assert keeps_connection(error) is keep


@pytest.mark.parametrize("sqlstate", ["22001", "22P05", "23505", "23514", "54001"])
def test_values_that_are_refused_are_refused_for_good_and_keep_their_connection(sqlstate: str) -> None:
    with pytest.raises(RowRejected), postgres_errors():
        raise raised(sqlstate)
    assert keeps_connection(raised(sqlstate))


@pytest.mark.parametrize(
    "error", [OSError(111, "refused"), asyncpg.InterfaceError("closed"), asyncpg.InternalClientError("farewell")]
)
def test_a_connection_that_failed_is_said_and_not_kept(error: Exception) -> None:
    with pytest.raises(StoreUnavailable, match="postgres cannot be reached: ") as told, postgres_errors():
        raise error
    assert told.value.reason == "connection" and str(error) in str(told.value)
    assert not keeps_connection(error)


def test_what_a_trigger_says_may_quote_what_was_stored_and_is_not_told() -> None:
    assert "secret text" not in said("P0001", "refused: 'secret text'")
    assert "permission denied for table x" in said("42501", "permission denied\nfor table x")
    assert len(said("42501", "x" * 10_000)) < 600


def test_every_reason_is_fit_for_a_label() -> None:
    assert all(each.reason.replace("_", "").isalpha() and each.sentence for each in [*MEANINGS.values(), UNKNOWN])
