"""Erasures in Postgres, as gateways ask for them and look at them; a persister carries them out."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from gateway.control.experiments.assignment import subject_id
from gateway.core.principal import Principal
from shared.contract.audit import told
from shared.contract.ids import first_id_at
from shared.postgres.audit_log import audited
from shared.postgres.pool import Postgres

_COLUMNS = (
    "id, principal, subject_id, before, requested_by, requested_at, state, finished_at, rows, requests, dead_letters, "
    "waiting, note"
)
_ADD = (
    "INSERT INTO erasures (id, principal, subject_id, before, below, requested_by) VALUES ($1, $2, $3, $4, $5, $6) "
    f"RETURNING {_COLUMNS}"  # nosec B608: of constants only
)
_FIND = f"SELECT {_COLUMNS} FROM erasures WHERE id = $1"  # nosec B608


class Requested(NamedTuple):
    """An erasure and how far it is: see docs/PRIVACY.md."""

    id: UUID
    principal: str | None
    subject_id: str | None
    before: datetime | None
    requested_by: str
    requested_at: datetime
    state: str
    finished_at: datetime | None
    rows: int
    requests: int
    dead_letters: int
    waiting: int
    note: str


class Which(NamedTuple):
    """Which predictions: those with all of these values.

    Attributes:
        principal: who has asked for them.
        subject: on whose behalf, as requests name them.
        before: only what was accepted before.
    """

    principal: str | None = None
    subject: str | None = None
    before: datetime | None = None


class Erasures:
    """Asks for erasures through a pool of connections.

    Its methods raise `StoreUnavailable` if Postgres cannot be reached.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def request(self, erasure_id: UUID, by: Principal, now: datetime, which: Which) -> Requested:
        """Ask to have erased what was accepted by now; or before an earlier time."""
        below = first_id_at(now if which.before is None else min(now, which.before))
        named = None if which.subject is None else subject_id(which.subject)
        wanted = {
            "principal": which.principal,
            "subject_id": named,
            "before": which.before and which.before.isoformat(),
        }
        async with audited(self._postgres) as (connection, audit_log):
            await audit_log.lock()
            row = await connection.fetchrow(_ADD, erasure_id, which.principal, named, which.before, below, by.id)
            await audit_log.add(by.id, "erasure.request", str(erasure_id), None, told(wanted))
        return Requested(*row)

    async def find(self, erasure_id: UUID) -> Requested | None:
        """An erasure; None if there is none with that id."""
        async with self._postgres.connection() as connection:
            row = await connection.fetchrow(_FIND, erasure_id)
        return None if row is None else Requested(*row)
