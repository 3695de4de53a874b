"""What Hugging Face's `InferenceClient` asks: `POST /hf/{model}`, by the model's task. A model is `name[@version]`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import Field, RootModel, WithJsonSchema

from gateway.core.order import Input
from gateway.http.bodies import parse, read_bytes
from gateway.http.problems import ProblemError, invalid
from gateway.http.responses import json_response
from gateway.protocols.asking import Ask, Results, Target, results_of, target_of
from gateway.protocols.bodies import MOST_TEXTS, TEXT_OR_TEXTS_SCHEMA, Body, text_input, text_inputs
from gateway.protocols.hf_tasks import HF_TASKS, flat, hf_task, options_of
from gateway.protocols.similarity import similarities, similarity_inputs
from shared.contract.tasks import TASKS

_INPUTS_SCHEMA = {
    "anyOf": [*TEXT_OR_TEXTS_SCHEMA["anyOf"], {"type": "object"}],
    "description": f"a text, a list of at most {MOST_TEXTS} texts, or what else the task takes",
}
_PLACE = ("body", "inputs")


class HuggingFaceRequest(Body):
    """What a model is asked; which parameters there are depends on its task."""

    inputs: Annotated[Any, WithJsonSchema(_INPUTS_SCHEMA)] = Field(examples=["This is great!"])
    parameters: dict[str, Any] = Field({}, description="of the task")
    stream: Literal[False] = Field(False, description="only answers as a whole are given")
    normalize: bool | None = Field(None, description="feature-extraction: length 1")
    prompt_name: str | None = Field(None, description="feature-extraction: a prompt of the model's")
    dimensions: int | None = Field(None, description="feature-extraction: keep so many numbers")
    truncate: bool | None = Field(None, description="feature-extraction: without effect, long texts are read in chunks")
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = Field(None, description="without effect")

    def given(self) -> dict[str, Any]:
        """All parameters, wherever they stand."""
        beside = self.model_dump(exclude={"inputs", "parameters", "stream"}, exclude_none=True)
        return flat({**beside, **self.parameters})


class HuggingFaceAnswer(RootModel[Any]):
    """What the task's clients expect."""


async def hf_predict(request: web.Request) -> web.Response:
    """Predict, in the form of the model's task."""
    target = target_of(request, request.match_info["name"])
    body = await _read(request, target)
    task = target.served.task
    if task == "text-ranking":
        raise ProblemError(400, "wrong-task", f"model {target.served.model!r} ranks texts: POST to its path /rerank")
    given = body.given()
    if task == "feature-extraction" and isinstance(body.inputs, dict):
        if given:
            raise invalid([(("body", "parameters", min(given)), "is not supported for sentence similarity")])
        inputs = similarity_inputs(body.inputs)
        results = await results_of(request, target, Ask(body, inputs, {"normalize": True}))
        return json_response(await similarities(results.values()), headers=results.headers)
    inputs = _inputs(task, body.inputs)
    results = await results_of(request, target, Ask(body, inputs, options_of(task, given)))
    return json_response(_answer(task, body, given, inputs, results), headers=results.headers)


async def _read(request: web.Request, target: Target) -> HuggingFaceRequest:
    """The body, which may be an image as it is."""
    kind = request.content_type
    if kind.startswith("image/") and target.served.task == "image-classification":
        image = await read_bytes(request, kind)
        return HuggingFaceRequest(inputs=base64.b64encode(image).decode())
    return parse(await read_bytes(request, "application/json"), HuggingFaceRequest)


def _inputs(task: str, given: Any) -> list[Input]:
    takes_texts = task == "text-generation" if task not in TASKS or not TASKS[task].takes_text else True
    if isinstance(given, str):
        return [text_input(given, _PLACE)]
    if takes_texts and isinstance(given, list):
        return text_inputs(given, *_PLACE)
    return [Input(given, _PLACE, sent_as_input=True)]


def _answer(
    task: str, body: HuggingFaceRequest, given: dict[str, Any], inputs: Sequence[Input], results: Results
) -> Any:
    known = hf_task(task)
    if task not in HF_TASKS:
        return orjson.Fragment(results.texts[0])
    answers = [known.answer(result, each.value, given) for result, each in zip(results.values(), inputs, strict=True)]
    return answers if known.listed or isinstance(body.inputs, list) else answers[0]
