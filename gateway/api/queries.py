"""The query parameters of the API, as pydantic models for validation and the OpenAPI document."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.control.experiments.assignment import SUBJECT_MAX_CHARS
from gateway.http.queries import DAY, SECONDS, TIME, WHOLE_NUMBER, Query
from gateway.http.timeouts import TimeoutQuery
from gateway.settings import MAX_WAIT_S
from shared.contract.ids import is_id
from shared.contract.messages import MODEL_MAX_CHARS, PRINCIPAL_MAX_CHARS, VERSION_MAX_CHARS, Status
from shared.contract.tags import TAG_PATTERN
from shared.contract.tasks import NO_NUL

MOST_USAGE_DAYS = 100
ENTRY_PATTERN = "^[0-9]{1,19}-[0-9]{1,19}$"  # 19 digits always fit the 64 bits of each half
CURSOR_PATTERN = f"{ENTRY_PATTERN}|^[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}$"

_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_Name = Annotated[str, Field(min_length=1, pattern=NO_NUL)]


_Status = Literal[Status.CANCELLED, Status.EXPIRED, Status.FAILED, Status.QUEUED, Status.RUNNING, Status.SUCCEEDED]


class WaitQuery(Query):
    """How long to wait."""

    wait: Annotated[float, Field(ge=0, le=MAX_WAIT_S), SECONDS] | None = Field(
        None, description="seconds to wait for the prediction; takes precedence over `Prefer: wait=S` (RFC 7240)"
    )


class PredictQuery(WaitQuery, TimeoutQuery):
    """Query parameters of predict."""


class PageQuery(Query):
    """A page of a list."""

    limit: Annotated[int, Field(ge=1, le=100), WHOLE_NUMBER] = Field(10, description="items per page, at most")


class HistoryQuery(PageQuery):
    """Filters of the history."""

    model: _Name | None = Field(
        None, max_length=MODEL_MAX_CHARS, description="only this model", examples=["sentiment-analysis"]
    )
    version: _Name | None = Field(
        None, max_length=VERSION_MAX_CHARS, description="only this version; requires `model`", examples=["1.0.0"]
    )
    status: _Status | None = Field(
        None, description="only this status; `queued` and `running` are of what is not finished; default: all finished"
    )
    since: Annotated[AwareDatetime, TIME] | None = Field(
        None, description="only what was accepted at this time or later (RFC 3339, with its zone)"
    )
    until: Annotated[AwareDatetime, TIME] | None = Field(None, description="only what was accepted before this time")
    tag: str | None = Field(
        None, pattern=TAG_PATTERN, description="only what has this tag: `key:value`", examples=["team:search"]
    )
    cursor: str | None = Field(
        None,
        description="`next_cursor` of the previous page",
        json_schema_extra={"pattern": CURSOR_PATTERN},
        examples=["01a22136-d5bd-7000-b2ca-b39d02441e67"],
    )

    @field_validator("version")
    @classmethod
    def _has_a_model(cls, version: str | None, found: ValidationInfo) -> str | None:
        if version is not None and found.data.get("model", "") is None:
            raise PydanticCustomError("needs_model", "requires `model`")
        return version

    @field_validator("cursor")
    @classmethod
    def _is_of_such_a_page(cls, cursor: str | None, found: ValidationInfo) -> str | None:
        entry = found.data.get("status") in (Status.QUEUED, Status.RUNNING)
        if cursor is not None and not (re.fullmatch(ENTRY_PATTERN, cursor) if entry else is_id(cursor)):
            raise PydanticCustomError("cursor", "must be the `next_cursor` of the previous page")
        return cursor

    @field_validator("since", "until")
    @classmethod
    def _is_a_time_of_ids(cls, time: datetime | None) -> datetime | None:
        return within_calendar(time)


class ErasureQuery(Query):
    """Which predictions to erase: those with all of these values, at least one of which is needed."""

    principal: str | None = Field(
        None,
        min_length=1,
        max_length=PRINCIPAL_MAX_CHARS,
        pattern=NO_NUL,
        description="only of this principal",
        examples=["ann@example.com"],
    )
    subject: str | None = Field(
        None,
        min_length=1,
        max_length=SUBJECT_MAX_CHARS,
        pattern=NO_NUL,
        description="only what was asked for on behalf of this subject, as requests name it",
        examples=["user-4711"],
    )
    before: Annotated[AwareDatetime, TIME] | None = Field(
        None, description="only what was accepted before this time (RFC 3339, with its zone); default: by now"
    )

    @field_validator("before")
    @classmethod
    def _is_a_time_for_postgres(cls, before: datetime | None) -> datetime | None:
        return within_calendar(before)


def within_calendar(time: datetime | None) -> datetime | None:
    """A time that Postgres may be told in UTC, which may be beyond the calendar: none was accepted beyond these."""
    return time and max(_EARLIEST, min(time, _LATEST))


class UsageQuery(Query):
    """Which usage."""

    first: Annotated[date, DAY] | None = Field(
        None, description="the first day (UTC); default: 29 days before the last"
    )
    last: Annotated[date, DAY] | None = Field(None, description="the last day (UTC); default: today")
    principal: str | None = Field(
        None,
        max_length=PRINCIPAL_MAX_CHARS,
        pattern=NO_NUL,
        description="only of this principal; default: of all one may see",
        examples=["ann@example.com"],
    )


class DeadLetterQuery(PageQuery):
    """Query parameters of the list of dead letters."""

    cursor: str | None = Field(
        None, pattern=ENTRY_PATTERN, description="`next_cursor` of the previous page", examples=["1764316800000-0"]
    )


class KeyQuery(PageQuery):
    """Query parameters of the list of API keys."""

    cursor: str | None = Field(
        None, pattern="^[a-z2-7]{16}$", description="`next_cursor` of the previous page", examples=["abcdefghijklmnop"]
    )
