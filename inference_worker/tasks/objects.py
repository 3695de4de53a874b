"""What Python people answer with instead of a dict: dataclasses and pydantic models."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel


def has_fields(value: object) -> bool:
    """Whether it is an instance of such a class."""
    return isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of one; those of a dataclass as they are, those of a pydantic model as it dumps them."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
