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
    datatype: Literal["BYTES"] = Field(description="of the elements: texts are BYTES")
    parameters: InputParameters = InputParameters()
    data: list[str | list[str]] | None = Field(
        None, max_length=MOST_ELEMENTS, examples=[["This is great!"]], description="left out in the binary extension"
    )


class OutputParameters(Body):
    """Of an output."""

    binary_data: StrictBool | None = Field(None, description="whether it stands behind the JSON")


class InferOutput(Body):
    """An output that is wanted."""

    name: _Name = Field(description="one of the outputs of the model")
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
    inputs: list[InferInput] = Field(
        min_length=1, max_length=1, description="one tensor: an element for each prediction"
    )
    outputs: list[InferOutput] = Field([], max_length=16, description="none: those of the task")
    parameters: InferParameters = InferParameters()


class InferAnswer(BaseModel):
    """The answer: one element, or one row, of each output for each prediction."""

    model_name: str = Field(description="the name of the model")
    model_version: str = Field(description="the name of the version")
    id: str | None = Field(None, description="that of the request, if it has one")
    parameters: dict[str, Any] = Field(description="`prediction_ids`: the ids of the predictions, with commas")
    outputs: list[dict[str, Any]] = Field(description="tensors: `name`, `datatype`, `shape` and `data`")


class ServerMetadata(BaseModel):
    """The server."""

    name: str = Field(description="of the server")
    version: str = Field(description="of the server")
    extensions: list[str] = Field(description="of the protocol that it has")


class TensorMetadata(BaseModel):
    """An input or output; -1 is any length."""

    name: str = Field(description="of the tensor")
    datatype: str = Field(description="of its elements")
    shape: list[int] = Field(description="-1 is any length")


class ModelMetadata(BaseModel):
    """A model."""

    name: str = Field(description="the name of the model")
    versions: list[str] = Field(description="the active ones")
    platform: str = Field(description="the kind of model")
    inputs: list[TensorMetadata] = Field(description="what it takes")
    outputs: list[TensorMetadata] = Field(description="what it gives")


class Live(BaseModel):
    """Whether the gateway runs."""

    live: bool = Field(description="whether it runs")


class Ready(BaseModel):
    """Whether to send requests."""

    ready: bool = Field(description="whether to send requests")


class ModelReady(BaseModel):
    """Whether a model is served."""

    name: str = Field(description="the name of the model")
    ready: bool = Field(description="whether requests for it would be computed now")
