"""The built-in tasks: what more than one service needs to know about each. Pure.

A new built-in task is an entry in `TASKS` and a module in `inference_worker/tasks/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

NO_NUL = r"^[^\x00]*$"  # Postgres's jsonb cannot hold U+0000

Label = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]


class Options(BaseModel):
    """What a task accepts besides the text. A task without options uses this class, which has no fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ZeroShotOptions(Options):
    """Options of `zero-shot-classification`."""

    labels: list[Label] = Field(
        min_length=2,
        max_length=64,
        description="zero-shot-classification (required): the candidate labels",
        examples=[["sport", "politics"]],
    )


class SummarizationOptions(Options):
    """Options of `summarization`."""

    max_length: int | None = Field(
        None,
        ge=8,
        le=512,
        description="summarization: maximum length, in words for extractive models and tokens for generative ones",
    )


class Task(NamedTuple):
    """A built-in task.

    Attributes:
        loader: `module:function` that loads an artifact; imported only by workers.
        options: validates the options of a request, and describes them in the OpenAPI document.
    """

    loader: str
    options: type[Options] = Options


_MODULES = "inference_worker.tasks"
TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "text-classification": Task(f"{_MODULES}.text_classification:TextClassification.load"),
        "summarization": Task(f"{_MODULES}.summarization:load_summarization", SummarizationOptions),
        "feature-extraction": Task(f"{_MODULES}.feature_extraction:FeatureExtraction.load"),
        "zero-shot-classification": Task(f"{_MODULES}.zero_shot:load_zero_shot", ZeroShotOptions),
    }
)
