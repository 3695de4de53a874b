"""Bodies about experiments and feedback, as pydantic models for validation and the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from gateway.control.experiments.assignment import MAX_ARMS, MAX_WEIGHT
from gateway.control.experiments.summary import Verdict
from shared.contract.catalogue import VersionName
from shared.contract.messages import ARM_MAX_CHARS
from shared.contract.tasks import NO_NUL

LABEL_MAX_CHARS = 200

_ArmName = Annotated[str, Field(min_length=1, max_length=ARM_MAX_CHARS, pattern=r"^[a-z0-9][a-z0-9._-]*$")]


def _number(value: Any) -> Any:
    if isinstance(value, str | bool):  # pydantic would read "5" and true
        raise PydanticCustomError("number", "must be a number")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArmBody(_Strict):
    """A version that takes part."""

    name: _ArmName | None = Field(None, description="its name in results and metrics; default: the version's")
    version: VersionName = Field(description="the name of a version that is active")
    weight: Annotated[int, Field(ge=1, le=MAX_WEIGHT), BeforeValidator(_number)] = Field(
        1, description="its share of subjects is this part of all weights' sum"
    )

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or self.version


class ShadowBody(_Strict):
    """A version that is given copies of requests, without anybody seeing its answers."""

    version: VersionName = Field(description="the name of a version that is active")
    share: Annotated[float, Field(gt=0, le=1), BeforeValidator(_number)] = Field(
        description="of requests that are copied, 0 to 1"
    )


class ExperimentBody(_Strict):
    """An experiment to start."""

    arms: list[ArmBody] = Field(
        min_length=1, max_length=MAX_ARMS, description="the first is the control, with which the others are compared"
    )
    shadow: ShadowBody | None = Field(None, description="a version that is given copies; null: none")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        names = [arm.called for arm in self.arms]
        if twice := {name for name in names if names.count(name) > 1}:
            raise PydanticCustomError("arm_twice", "has two arms named {name}", {"name": repr(min(twice))})
        if len(self.arms) == 1 and self.shadow is None:
            raise PydanticCustomError("one_arm", "needs two arms, or one and a shadow: there is nothing to compare")
        return self


class ArmInfo(BaseModel):
    """An arm."""

    name: str = Field(description="its name")
    version: str = Field(description="the name of the version")
    weight: int = Field(description="its share of subjects is this part of all weights' sum")


class ShadowInfo(BaseModel):
    """A shadow."""

    version: str = Field(description="the name of the version")
    share: float = Field(description="of requests that are copied, 0 to 1")


class ExperimentInfo(BaseModel):
    """An experiment."""

    experiment_id: UUID = Field(description="the id of the experiment")
    model: str = Field(description="the name of the model")
    arms: list[ArmInfo] = Field(description="the versions that take part; the first is the control")
    shadow: ShadowInfo | None = Field(description="the version that is given copies; null: none")
    started_at: datetime = Field(description="when it was started")
    stopped_at: datetime | None = Field(description="null while it runs")


class Latency(BaseModel):
    """Percentiles of the time from acceptance to the answer, in ms, of successes."""

    p50: float = Field(description="the median")
    p95: float = Field(description="95 % take at most so long")
    p99: float = Field(description="99 % take at most so long")


class ComparisonInfo(BaseModel):
    """An arm minus the control."""

    verdict: Verdict = Field(
        description="higher or lower than the control; undecided: so far no difference is certain; too_few: below 30 "
        "subjects in one of the two arms, or no request differed from another; invalid: see `valid`"
    )
    estimate: float | None = Field(description="the difference; null if too_few")
    low: float | None = Field(description="with 95 % confidence, however often one looks, it is at least this")
    high: float | None = Field(description="and at most this")


class ArmResults(ArmInfo):
    """What an arm has shown."""

    share: float = Field(description="of subjects that it should have, 0 to 1")
    subjects: int = Field(description="for whom requests were made")
    requests: int = Field(description="that were made of it")
    failures: int = Field(description="requests that did not succeed")
    failure_rate: float | None = Field(
        description="the share of requests that did not succeed, 0 to 1; null without requests"
    )
    latency_ms: Latency | None = Field(description="from acceptance to the answer; null without successes")
    mean_latency_ms: float | None = Field(description="the mean of the same; null without successes")
    confidence: float | None = Field(description="the mean; null if the task has no score")
    labels: dict[str, int] = Field(description="answers by label, the 20 most frequent")
    other_labels: int = Field(description="answers with another label")
    feedback: int = Field(description="requests about which there is feedback that can be compared with the answer")
    accuracy: float | None = Field(description="of these, the share that was right")
    compared: dict[str, ComparisonInfo] | None = Field(
        description="with the control, by metric: failure_rate, latency_ms, confidence, accuracy; null for the control"
    )


class ShadowResults(ShadowInfo):
    """What a shadow has shown."""

    copies: int = Field(description="that have ended")
    failures: int = Field(description="copies that did not succeed")
    latency_ms: Latency | None = Field(description="from the copying to the answer; null without successes")
    compared: int = Field(description="copies that have a label, as have their originals")
    agreement: float | None = Field(description="of these, the share with the same label")


class ExperimentResults(ExperimentInfo):
    """The results of an experiment."""

    arms: list[ArmResults] = Field(  # type: ignore[assignment]
        description="what each arm has shown; the first is the control"
    )
    shadow: ShadowResults | None = Field(description="what the shadow has shown; null without one")
    requests_examined: int = Field(description="how many requests these results are of")
    complete: bool = Field(description="false if there are more: results are of the first 200,000 requests")
    sample_ratio_p: float | None = Field(
        description="how likely so uneven numbers of subjects are (χ²); null without subjects"
    )
    valid: bool = Field(
        description="false if that is below 0.001: subjects of one arm were lost, for example refused since its queue "
        "was full, so the arms cannot be compared"
    )


_ONE_OF: JsonDict = {
    "oneOf": [
        {"required": ["correct"], "properties": {"correct": {"type": "boolean"}, "label": {"type": "null"}}},
        {"required": ["label"], "properties": {"label": {"type": "string"}, "correct": {"type": "null"}}},
    ]
}


class FeedbackBody(_Strict):
    """What is known of an answer: whether it is right, or which label would be."""

    model_config = ConfigDict(json_schema_extra=_ONE_OF)

    correct: bool | None = Field(None, strict=True, description="whether the answer is right")
    label: str | None = Field(
        None,
        min_length=1,
        max_length=LABEL_MAX_CHARS,
        pattern=NO_NUL,
        description="the label that would have been right",
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.correct is None) == (self.label is None):
            raise PydanticCustomError("correct_or_label", "needs either `correct` or `label`")
        return self
