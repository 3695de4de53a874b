"""Reading query parameters: as a pydantic model, or an error that names the parameter."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from gateway.http.problems import invalid, invalid_fields

# Python would accept `1_0`, ` 1` and `١` as numbers too, and pydantic `0` as a day or a time.
_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[-+][0-9]{2}:[0-9]{2})", re.ASCII
)
_WHOLE = re.compile(r"[-+]?[0-9]+", re.ASCII)

Parameters = TypeVar("Parameters", bound="Query")


class Query(BaseModel):
    """Query parameters of an operation."""

    model_config = ConfigDict(frozen=True)


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise PydanticCustomError("seconds", "must be a number of seconds")
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise PydanticCustomError("whole_number", "must be a whole number")
    return value


def _day(value: Any) -> Any:
    if isinstance(value, str) and not _DAY.fullmatch(value):
        raise PydanticCustomError("day", "must be a day, as 2026-11-27")
    return value


def _time(value: Any) -> Any:
    if isinstance(value, str) and not _TIME.fullmatch(value):
        raise PydanticCustomError("time", "must be a time by RFC 3339, with its zone, as 2026-11-27T12:00:00Z")
    return value


# Used as in `Annotated[float, Field(ge=0), SECONDS]`: first the bounds, then how the text is read.
SECONDS = BeforeValidator(_seconds)
WHOLE_NUMBER = BeforeValidator(_whole)
DAY = BeforeValidator(_day)
TIME = BeforeValidator(_time)


@cache
def _defaults(kind: type[Parameters]) -> Parameters:
    return kind()  # made once for speed: most requests have no query, and the model is frozen


def read_query(request: web.Request, kind: type[Parameters]) -> Parameters:
    """The query parameters of a request; the first of duplicates counts.

    Raises:
        ProblemError: 422, a parameter is invalid or unknown: a misspelt `timeout` would be a request without one.
    """
    if not request.query_string:
        defaults: Parameters = _defaults(kind)
        return defaults
    given = request.query
    unknown = [name for name in given if name not in kind.model_fields]
    if unknown:
        known = ", ".join(kind.model_fields) or "none"
        raise invalid(
            [(("query", name[:100]), f"is no parameter of this path; it takes: {known}") for name in unknown[:20]]
        )
    try:
        return kind.model_validate({name: given[name] for name in kind.model_fields if name in given})
    except ValidationError as error:
        raise invalid_fields("query", error) from None
