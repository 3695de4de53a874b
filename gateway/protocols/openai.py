"""OpenAI's embeddings and list of models: `/v1`. A model is `name` or `name@version`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field, WithJsonSchema

from gateway.http.bodies import read_body
from gateway.http.context import CATALOGUE, PRINCIPAL
from gateway.http.responses import json_response
from gateway.protocols.asking import Ask, results_of, target_of
from gateway.protocols.bodies import TEXT_OR_TEXTS_SCHEMA, Body, Subject, text_inputs
from gateway.protocols.v2_tensors import Tensor, packed
from shared.contract.messages import MODEL_MAX_CHARS, VERSION_MAX_CHARS

_TASK = "feature-extraction"


class EmbeddingsRequest(Body):
    """Texts to embed."""

    model: str = Field(
        min_length=1,
        max_length=MODEL_MAX_CHARS + VERSION_MAX_CHARS + 1,
        description="`name` or `name@version` of a model that embeds",
        examples=["embeddings"],
    )
    input: Annotated[Any, WithJsonSchema(TEXT_OR_TEXTS_SCHEMA)] = Field(
        examples=["The bridge is closed."], description="a text, or a list of texts"
    )
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: float32, little-endian")
    dimensions: int | None = Field(
        None, ge=1, le=65_536, description="keep so many numbers, of models trained for that"
    )
    user: Subject = ""


class Embedding(BaseModel):
    """The embedding of one text."""

    object: Literal["embedding"] = Field(description="what this is")
    index: int = Field(description="of its text among the texts")
    embedding: list[float] | str = Field(description="numbers, or their base64")


class EmbeddingUsage(BaseModel):
    """What was computed: nothing for results that were given again."""

    prompt_tokens: int = Field(description="tokens of the texts")
    total_tokens: int = Field(description="the same")


class Embeddings(BaseModel):
    """Embeddings, in the order of the texts."""

    object: Literal["list"] = Field(description="what this is")
    data: list[Embedding] = Field(description="one embedding for each text")
    model: str = Field(description="the model and version that embedded them")
    usage: EmbeddingUsage


class OpenAIModel(BaseModel):
    """A model."""

    id: str = Field(description="the name of the model")
    object: Literal["model"] = Field(description="what this is")
    created: int = Field(description="0: not known")
    owned_by: str = Field(description="whose it is: always `millstream`")


class OpenAIModels(BaseModel):
    """All models that the caller may use."""

    object: Literal["list"] = Field(description="what this is")
    data: list[OpenAIModel] = Field(description="the models that one may use")


async def openai_embeddings(request: web.Request) -> web.Response:
    """Embed texts."""
    body = await read_body(request, EmbeddingsRequest)
    target = target_of(request, body.model)
    target.check_task(_TASK, does="makes no embeddings")
    options = {} if body.dimensions is None else {"dimensions": body.dimensions}
    ask = Ask(body, text_inputs(body.input, "body", "input"), options, ("body",), subject=body.user)
    results = await results_of(request, target, ask)
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(each["embedding"], body.encoding_format)}
        for index, each in enumerate(results.values())
    ]
    usage = {"prompt_tokens": results.tokens, "total_tokens": results.tokens}
    return json_response(
        {"object": "list", "data": data, "model": f"{target.served.model}@{results.version}", "usage": usage},
        headers=results.headers,
    )


async def openai_models(request: web.Request) -> web.Response:
    """The models that the caller may use."""
    names = [each.name for each in request.app[CATALOGUE].models if request[PRINCIPAL].may_use(each.name)]
    return json_response({"object": "list", "data": [_model(each) for each in names]})


async def openai_model(request: web.Request) -> web.Response:
    """One model."""
    name = request.match_info["name"]
    target_of(request, name)
    return json_response(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "millstream"}


def _encoded(numbers: Sequence[float], encoding: str) -> Sequence[float] | str:
    if encoding == "float":
        return numbers
    return base64.b64encode(packed(Tensor("embedding", "FP32", [len(numbers)], numbers))).decode()
