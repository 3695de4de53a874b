"""Experiments and feedback in Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from gateway.control.experiments.assignment import Arm, Experiment, Shadow
from shared.contract.audit import told
from shared.postgres.audit_log import AuditLog, audited
from shared.postgres.pool import Postgres

# A change to a model's experiment waits for another one: two would both stop what runs, and both start.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('millstream experiment ' || $1, 0))"
_FIELDS = "id, model, arms, shadow, started_at, stopped_at"
_ALL_RUNNING = f"SELECT {_FIELDS} FROM experiments WHERE stopped_at IS NULL"  # nosec B608: of constants only
_RUNNING = f"{_ALL_RUNNING} AND model = $1"
_NEWEST = f"SELECT {_FIELDS} FROM experiments WHERE model = $1 ORDER BY started_at DESC LIMIT 1"  # nosec B608
_STOP = (
    "UPDATE experiments SET stopped_at = clock_timestamp() WHERE model = $1 AND stopped_at IS NULL "
    f"RETURNING {_FIELDS}"  # nosec B608
)
_START = f"INSERT INTO experiments (model, arms, shadow) VALUES ($1, $2, $3) RETURNING {_FIELDS}"  # nosec B608
_FEEDBACK = (
    "INSERT INTO feedback (prediction_id, correct, label, principal) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (prediction_id) DO UPDATE SET correct = excluded.correct, label = excluded.label, "
    "principal = excluded.principal, at = now()"
)


class Record(NamedTuple):
    """An experiment with its times; `stopped_at` is None while it runs."""

    experiment: Experiment
    started_at: datetime
    stopped_at: datetime | None = None


class ExperimentStore:
    """Reads and writes experiments through a pool of connections.

    Every method raises `StoreUnavailable` if Postgres cannot be reached.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def running(self) -> dict[str, Experiment]:
        """The experiments that run, by model."""
        async with self._postgres.connection() as connection:
            rows = await connection.fetch(_ALL_RUNNING)
        return {row["model"]: _record(row).experiment for row in rows}

    async def newest(self, model: str) -> Record | None:
        """The experiment of a model that runs, or else the last one; None if there was none."""
        async with self._postgres.connection() as connection:
            row = await connection.fetchrow(_NEWEST, model)
        return None if row is None else _record(row)

    async def start(self, wanted: Experiment, by: str) -> Record:
        """Start an experiment in the place of the one that runs, under a new id; one that is the same goes on.

        Args:
            by: the principal who wants it, for the audit log.
        """
        async with self._changing(wanted.model) as (connection, audit_log):
            row = await connection.fetchrow(_RUNNING, wanted.model)
            if row is not None and _record(row).experiment == wanted.under(str(row["id"])):
                return _record(row)
            stopped = await connection.fetchrow(_STOP, wanted.model)
            started = await connection.fetchrow(_START, wanted.model, *_values(wanted))
            await audit_log.lock()
            await audit_log.add(by, "experiment.start", wanted.model, _told(stopped), _told(started))
            return _record(started)

    async def stop(self, model: str, by: str) -> bool:
        """Stop the experiment of a model; returns whether one ran."""
        async with self._changing(model) as (connection, audit_log):
            stopped = await connection.fetchrow(_STOP, model)
            if stopped is not None:
                await audit_log.lock()
                await audit_log.add(by, "experiment.stop", model, _told(stopped), None)
            return stopped is not None

    async def give_feedback(self, prediction_id: str, correct: bool | None, label: str | None, principal: str) -> None:
        """Note what a caller says of an answer, in the place of what was said before: `correct`, or else `label`."""
        async with self._postgres.connection() as connection:
            await connection.execute(_FEEDBACK, UUID(prediction_id), correct, label, principal)

    @asynccontextmanager
    async def _changing(self, model: str) -> AsyncIterator[tuple[Any, AuditLog]]:
        """A transaction that may change the experiment of a model."""
        async with audited(self._postgres) as (connection, audit_log):
            await connection.execute(_LOCK, model)
            yield connection, audit_log


def _told(row: Mapping[str, Any] | None) -> str | None:
    """An experiment as the audit log has it."""
    if row is None:
        return None
    experiment = _record(row).experiment
    shadow = experiment.shadow
    about: dict[str, Any] = {"experiment_id": experiment.id, "arms": [arm._asdict() for arm in experiment.arms]}
    return told(about | {"shadow": shadow and shadow._asdict()})


def _values(experiment: Experiment) -> tuple[str, str | None]:
    shadow = experiment.shadow
    return (
        orjson.dumps([arm._asdict() for arm in experiment.arms]).decode(),
        None if shadow is None else orjson.dumps(shadow._asdict()).decode(),
    )


def _record(row: Mapping[str, Any]) -> Record:
    shadow = row["shadow"]
    experiment = Experiment(
        str(row["id"]),
        row["model"],
        tuple(Arm(**arm) for arm in orjson.loads(row["arms"])),
        None if shadow is None else Shadow(**orjson.loads(shadow)),
    )
    return Record(experiment, row["started_at"], row["stopped_at"])
