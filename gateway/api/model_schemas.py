"""Bodies of requests that change models, for validation and the OpenAPI document."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from shared.contract.catalogue import GroupName, VersionName, VersionSettings
from shared.contract.tasks import NO_NUL, TASKS


def _built_in(task: str) -> str:
    if task not in TASKS:
        raise PydanticCustomError("unknown_task", "must be one of {tasks}", {"tasks": ", ".join(TASKS)})
    return task


BuiltInTask = Annotated[str, AfterValidator(_built_in), WithJsonSchema({"type": "string", "enum": [*TASKS]})]


class NewVersionBody(VersionSettings):
    """A version of a model: how it is run, as in the catalogue file. Of a new model also its task and description."""

    artifact: str = Field(
        min_length=1,
        max_length=255,
        pattern=NO_NUL,
        description="a directory below one of MODEL_ROOTS, hf://owner/name@commit of an owner in HUB_OWNERS, or "
        "s3://bucket/path@sha256:… below one of MODEL_BUCKETS",
        examples=["sentiment-2026-11"],
    )
    task: BuiltInTask | None = Field(None, description="of a new model")
    description: str | None = Field(None, min_length=1, max_length=500, pattern=NO_NUL, description="of a new model")
    group: GroupName | None = Field(None, description="of a new model: workers may select it by this")

    def settings(self) -> VersionSettings:
        """How it is run."""
        fields = self.model_dump(exclude={"task", "description", "group"}, exclude_unset=True)
        return VersionSettings.model_validate(fields)


class DefaultBody(BaseModel):
    """Which version is to serve requests that name none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: VersionName = Field(description="the name of the version that is to be the default")
