"""What `options` a request may carry, by task: checked by the gateway, read by the worker's tasks."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NO_NUL = r"^[^\x00]*$"  # Postgres's jsonb cannot hold U+0000

Label = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]


class PredictOptions(BaseModel):
    """Optional settings of one prediction; which of them apply depends on the model's task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: list[Label] | None = Field(
        None,
        min_length=2,
        max_length=64,
        description="zero-shot-classification: the candidate labels (required there)",
        examples=[["sport", "politics"]],
    )
    max_length: int | None = Field(
        None,
        ge=8,
        le=512,
        description="summarization: the longest summary, in words for extractive models and tokens for generative ones",
    )


_ALLOWED = {"zero-shot-classification": {"labels"}, "summarization": {"max_length"}}
_REQUIRED = {"zero-shot-classification": "labels"}


def option_error(task: str, options: PredictOptions | None) -> tuple[str, str] | None:
    """Why these options do not fit this task, as (field, message); None where they fit."""
    required = _REQUIRED.get(task)
    if options is None and required is None:
        return None
    given = set() if options is None else options.model_fields_set
    if required and (options is None or getattr(options, required) is None):
        return required, f"a {task} model needs options.{required}"
    for name in sorted(given - _ALLOWED.get(task, given if ":" in task else set())):
        return name, f"a {task} model takes no option {name!r}"
    return None
