"""The paths of Text Embeddings Inference, below `/hf/{model}`. A model is `name[@version]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, Field, RootModel, WithJsonSchema

from gateway.core.order import Input
from gateway.http.bodies import read_body
from gateway.http.context import SETTINGS
from gateway.http.problems import ProblemError, invalid
from gateway.http.readiness import is_served
from gateway.http.responses import json_response
from gateway.protocols.asking import Ask, Target, results_of, target_of
from gateway.protocols.bodies import MOST_TEXTS, TEXT_OR_TEXTS_SCHEMA, TEXT_SCHEMA, Body, text_input, text_inputs
from gateway.protocols.hf_tasks import HF_TASKS
from gateway.protocols.similarity import Sentences, similarities, similarity_inputs
from shared.contract.registry import RegisteredVersion
from shared.service.version import software_version

_PAIR = {"type": "array", "minItems": 2, "maxItems": 2, "items": TEXT_SCHEMA}
_ALONE = {"type": "array", "minItems": 1, "maxItems": 1, "items": TEXT_SCHEMA}
_PREDICT_SCHEMA = {
    "anyOf": [TEXT_SCHEMA, _PAIR, {"type": "array", "minItems": 1, "maxItems": MOST_TEXTS, "items": _ALONE}],
    "description": "a text, a pair of texts, or several texts, each in a list of its own",
}
_NO_EFFECT = "without effect: long texts are read in chunks"
_Scores = list[dict[str, str | float]]
_KINDS = {
    "feature-extraction": {"embedding": {"pooling": "model"}},
    "text-classification": {"classifier": {"id2label": {}, "label2id": {}}},
    "text-ranking": {"reranker": {"id2label": {}, "label2id": {}}},
}


class _Truncated(Body):
    """What may be said of long texts."""

    truncate: bool | None = Field(None, description=_NO_EFFECT)
    truncation_direction: str | None = Field(None, max_length=10, description=_NO_EFFECT)


class EmbedRequest(_Truncated):
    """Texts to embed."""

    inputs: Annotated[Any, WithJsonSchema(TEXT_OR_TEXTS_SCHEMA)] = Field(
        examples=["The bridge is closed."], description="the texts, or one"
    )
    normalize: bool = Field(True, description="length 1")
    prompt_name: str | None = Field(None, description="a prompt of the model's")
    dimensions: int | None = Field(None, description="keep so many numbers, of models trained for that")


class TextsRequest(_Truncated):
    """Texts to classify."""

    inputs: Annotated[Any, WithJsonSchema(_PREDICT_SCHEMA)] = Field(examples=["This is great!"])
    raw_scores: bool = Field(False, description="cannot be true: scores are those of the model's own function")


class RerankRequest(_Truncated):
    """Texts to rank by how well they answer a query."""

    query: str = Field(min_length=1, examples=["When was it closed?"], description="the question")
    texts: list[str] = Field(
        min_length=1,
        max_length=MOST_TEXTS,
        examples=[["On Monday.", "Buses take another way."]],
        description="what is ranked",
    )
    raw_scores: bool = Field(False, description="cannot be true: scores are those of the model's own function")
    return_text: bool = Field(False, description="whether each rank has its text")


class SimilarityRequest(Body):
    """Sentences to compare."""

    inputs: Sentences = Field(description="a sentence, and others")
    parameters: _Truncated | None = Field(None, description="of embedding")


class EmbedAnswer(RootModel[list[list[float]]]):
    """An embedding for each text."""


class TextsAnswer(RootModel[_Scores | list[_Scores]]):
    """The labels with their scores, the best first: of the text, or of each."""


class Rank(BaseModel):
    """The score of one of the texts, counted from 0."""

    index: int = Field(description="of the text among the texts")
    score: float = Field(description="how well it answers the query; more is better")
    text: str | None = Field(None, description="the text itself, if that was asked for")


class RerankAnswer(RootModel[list[Rank]]):
    """The texts, the best first."""


class SimilarityAnswer(RootModel[list[float]]):
    """The cosine of each sentence with the source."""


class ModelFacts(BaseModel):
    """A model."""

    model_id: str = Field(description="the name of the model")
    served_model_name: str = Field(description="the same")
    model_sha: str | None = Field(description="null: not told")
    model_dtype: str = Field(description="the type of its numbers")
    model_type: dict[str, dict[str, Any]] = Field(description="the task, and what is special to it")
    max_concurrent_requests: int = Field(description="that may wait at once")
    max_input_length: int = Field(description="characters of a text")
    max_batch_tokens: int = Field(description="tokens that are computed at once")
    max_client_batch_size: int = Field(description="texts in a request")
    auto_truncate: bool = Field(description="whether long texts are cut: they are not")
    tokenization_workers: int = Field(description="without meaning here")
    version: str = Field(description="of the server")


async def tei_embed(request: web.Request) -> web.Response:
    """Embed texts."""
    body, target = await read_body(request, EmbedRequest), _target(request)
    target.check_task("feature-extraction", does="makes no embeddings")
    options = body.model_dump(include={"normalize", "prompt_name", "dimensions"}, exclude_none=True)
    ask = Ask(body, text_inputs(body.inputs, "body", "inputs"), options, ("body",))
    results = await results_of(request, target, ask)
    return json_response([each["embedding"] for each in results.values()], headers=results.headers)


async def tei_predict(request: web.Request) -> web.Response:
    """Classify texts."""
    body, target = await read_body(request, TextsRequest), _target(request)
    target.check_task("text-classification", does="has no classes")
    _check_scores(body.raw_scores)
    inputs, second = _texts(body.inputs)
    options = {} if second is None else {"text_pair": second}
    results = await results_of(request, target, Ask(body, inputs, options, ("body",)))
    answers = [HF_TASKS["text-classification"].answer(each, None, {}) for each in results.values()]
    several = isinstance(body.inputs, list) and second is None
    return json_response(answers if several else answers[0], headers=results.headers)


async def tei_rerank(request: web.Request) -> web.Response:
    """Rank texts."""
    body, target = await read_body(request, RerankRequest), _target(request)
    target.check_task("text-ranking", does="ranks no texts")
    _check_scores(body.raw_scores)
    given = {"query": body.query, "documents": body.texts}
    results = await results_of(request, target, Ask(body, [Input(given, ("body",), sent_as_input=True)]))
    (result,) = results.values()
    ranks = [
        {**each, **({"text": body.texts[each["index"]]} if body.return_text else {})} for each in result["ranking"]
    ]
    return json_response(ranks, headers=results.headers)


async def tei_similarity(request: web.Request) -> web.Response:
    """Compare sentences."""
    body, target = await read_body(request, SimilarityRequest), _target(request)
    target.check_task("feature-extraction", does="makes no embeddings")
    inputs = similarity_inputs(body.inputs.model_dump())
    results = await results_of(request, target, Ask(body, inputs, {"normalize": True}))
    return json_response(await similarities(results.values()), headers=results.headers)


async def tei_info(request: web.Request) -> web.Response:
    """What a model is, and how much it takes at once."""
    served, settings = _target(request).served, request.app[SETTINGS]
    version = served.version
    return json_response(
        {
            "model_id": served.model,
            "served_model_name": served.model,
            "model_sha": version.digest if isinstance(version, RegisteredVersion) else None,
            "model_dtype": version.dtype,
            "model_type": _KINDS.get(served.task, {served.task: {}}),
            "max_concurrent_requests": settings.max_in_flight,
            "max_input_length": version.limits.tokens,
            "max_batch_tokens": version.batch.tokens,
            "max_client_batch_size": settings.max_batch_texts,
            "auto_truncate": False,
            "tokenization_workers": 1,
            "version": software_version(),
        }
    )


async def tei_health(request: web.Request) -> web.Response:
    """200 if a model is served."""
    served = _target(request).served
    if not await is_served(request.app, served):
        raise ProblemError(503, "not-ready", f"no live worker serves {served.label} now", headers={"Retry-After": "2"})
    return web.Response()


def _target(request: web.Request) -> Target:
    return target_of(request, request.match_info["name"])


def _check_scores(raw: bool) -> None:
    if raw:
        problem = "cannot be true: scores are those of the model's own function"
        raise invalid([(("body", "raw_scores"), problem)])


def _texts(given: Any) -> tuple[Sequence[Input], str | None]:
    """The texts of a request, and the second text of a pair."""
    place = ("body", "inputs")
    match given:
        case str():
            return [text_input(given, place)], None
        case [str() as first, str() as second]:
            return [text_input(first, (*place, 0))], second
        case [[str()], *_] if all(isinstance(each, list) and len(each) == 1 for each in given):
            return text_inputs([each[0] for each in given], *place), None
    raise invalid([(place, "must be a text, a pair of texts, or a list of lists of one text; a pair goes alone")])
