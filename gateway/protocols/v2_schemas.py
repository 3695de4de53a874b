"""Bodies of the Open Inference Protocol v2, for validation and the OpenAPI document. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from gateway.protocols.bodies import Body
from shared.contract.tasks import NO_NUL

MOST_ELEMENTS = 1000  # MAX_BATCH_TEXTS is at most this
_Name = Annotated[str, Field(max_length=100, pattern=NO_NUL)]


class InputParameters(Body):
    """Of an input."""

    binary_data_size: Annotated[StrictInt, Field(ge=0)] | None = Field(
        None, description="how many of the bytes behind the JSON are this tensor's"
    )


class InferInput(Body):
    """A tensor with one element for each prediction."""

    name: Literal["text", "input"] = Field(description="`text`: texts; `input`: any JSON, each as a string")
    shape: list[StrictInt] = Field(min_length=1, max_length=2, examples=[[1]], description="[N] or [N, 1]")
    datatype: Literal["BYTES"]
    parameters: InputParameters = InputParameters()
    data: list[str | list[str]] | None = Field(
        None, max_length=MOST_ELEMENTS, examples=[["This is great!"]], description="left out in the binary extension"
    )


class OutputParameters(Body):
    """Of an output."""

    binary_data: StrictBool | None = Field(None, description="whether it stands behind the JSON")


class InferOutput(Body):
    """An output that is wanted."""

    name: _Name
    parameters: OutputParameters = OutputParameters()


class InferParameters(BaseModel):
    """Of a request. All others are options of the model's task; `labels` may be a text with commas."""

    model_config = ConfigDict(extra="allow", frozen=True)

    timeout: Annotated[StrictInt, Field(ge=0)] | None = Field(
        None, description="microseconds that the request may stay in the queue before it expires; 0: as if left out"
    )
    binary_data_output: StrictBool = Field(False, description="whether outputs that do not say stand behind the JSON")
    priority: StrictInt = Field(0, description="without effect")
    sequence_id: StrictInt | str = Field(0, description="without effect: predictions are independent")
    sequence_start: StrictBool = Field(False, description="without effect")
    sequence_end: StrictBool = Field(False, description="without effect")

    def options(self) -> dict[str, Any]:
        """The options of the model's task."""
        options = dict(self.model_extra or {})
        if isinstance(labels := options.get("labels"), str):  # a parameter is no list in this protocol
            options["labels"] = [each.strip() for each in labels.split(",")]
        return options


class InferRequest(Body):
    """A request for predictions."""

    id: _Name = Field("", description="is told again in the answer")
    inputs: list[InferInput] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] = Field([], max_length=16, description="none: those of the task")
    parameters: InferParameters = InferParameters()


class InferAnswer(BaseModel):
    """The answer: one element, or one row, of each output for each prediction."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any]
    outputs: list[dict[str, Any]]


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or output; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Live(BaseModel):
    """Whether the gateway runs."""

    live: bool


class Ready(BaseModel):
    """Whether to send requests."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model is served."""

    name: str
    ready: bool
