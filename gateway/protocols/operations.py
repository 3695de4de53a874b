"""The operations of the protocols, as those of the API: routes, scopes and the OpenAPI document are made from them.

What predicts needs the scope of `POST /api/v1/predict`, what tells of models that of `GET /api/v1/models`.
"""

from __future__ import annotations

from functools import partial

from gateway.core.principal import Scope
from gateway.http import idempotency
from gateway.http.openapi import Operation, Parameter
from gateway.protocols import dialects, hugging_face, openai, tei, v2, v2_schemas
from gateway.protocols.asking import AskQuery

_NAME = Parameter(
    "name", "path", "the name of a model", {"type": "string", "minLength": 1, "examples": ["sentiment-analysis"]}
)
_MODEL = Parameter(
    "name",
    "path",
    "a model as `name` or `name@version`",
    {"type": "string", "minLength": 1, "examples": ["sentiment-analysis@1.0.0"]},
)
_VERSION = Parameter(
    "version", "path", "the name of a version of it", {"type": "string", "minLength": 1, "examples": ["1.0.0"]}
)
_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "a repeat with it creates no new prediction",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": idempotency.MAX_CHARS,
        "pattern": idempotency.PATTERN,
        "examples": ["order-4711"],
    },
)
_CACHE = Parameter(
    "Cache-Control", "header", "`no-cache` or `no-store`: compute anew", {"type": "string", "examples": ["no-cache"]}
)
_JSON_LENGTH = Parameter(
    "Inference-Header-Content-Length",
    "header",
    "in the binary extension: how many bytes of the body, unpacked, are JSON",
    {"type": "string", "examples": ["160"], "pattern": "^[0-9]{1,11}$"},
)
_ASKING = (400, 404, 408, 409, 413, 415, 422, 429, 500, 503, 504)
_READING = (404, 429, 503)
_ALL = tuple(Scope)

_V2 = partial(Operation, problem=dialects.V2Problem)
_V2_INFER = partial(
    _V2,
    scopes=(Scope.PREDICT,),
    answers={200: v2_schemas.InferAnswer},
    problems=_ASKING,
    body=v2_schemas.InferRequest,
    query=AskQuery,
    binary=True,
)
_OPENAI = partial(Operation, problem=dialects.OpenAIProblem)
_HF = partial(Operation, problem=dialects.HuggingFaceProblem)
_HF_ASK = partial(_HF, scopes=(Scope.PREDICT,), problems=_ASKING, query=AskQuery, parameters=(_MODEL, _KEY, _CACHE))
_READY = {200: v2_schemas.ModelReady, 503: v2_schemas.ModelReady}

PROTOCOL_OPERATIONS: tuple[Operation, ...] = (
    _V2("GET", "/v2", v2.v2_server, _ALL, "Name and version of the server", {200: v2_schemas.ServerMetadata}, (429,)),
    _V2(
        *("GET", "/v2/health/live", v2.v2_live, ()),
        summary="Liveness",
        answers={200: v2_schemas.Live, 503: v2_schemas.Live},
    ),
    _V2(
        *("GET", "/v2/health/ready", v2.v2_ready, ()),
        summary="Readiness",
        answers={200: v2_schemas.Ready, 503: v2_schemas.Ready},
    ),
    _V2(
        *("GET", "/v2/models/{name}", v2.v2_model, _ALL),
        summary="What a model takes and gives",
        answers={200: v2_schemas.ModelMetadata},
        problems=_READING,
        parameters=(_NAME,),
    ),
    _V2(
        *("GET", "/v2/models/{name}/versions/{version}", v2.v2_model_version, _ALL),
        summary="What a version of a model takes and gives",
        answers={200: v2_schemas.ModelMetadata},
        problems=_READING,
        parameters=(_NAME, _VERSION),
    ),
    _V2(
        *("GET", "/v2/models/{name}/ready", v2.v2_model_ready, _ALL),
        summary="Whether a model is served",
        answers=_READY,
        problems=(404, 429),
        parameters=(_NAME,),
    ),
    _V2(
        *("GET", "/v2/models/{name}/versions/{version}/ready", v2.v2_model_version_ready, _ALL),
        summary="Whether a version of a model is served",
        answers=_READY,
        problems=(404, 429),
        parameters=(_NAME, _VERSION),
    ),
    _V2_INFER(
        *("POST", "/v2/models/{name}/infer", v2.v2_infer),
        summary="Predict for each element of a tensor",
        parameters=(_NAME, _JSON_LENGTH, _KEY, _CACHE),
    ),
    _V2_INFER(
        *("POST", "/v2/models/{name}/versions/{version}/infer", v2.v2_infer_version),
        summary="Predict for each element of a tensor, by a version of a model",
        parameters=(_NAME, _VERSION, _JSON_LENGTH, _KEY, _CACHE),
    ),
    _OPENAI(
        *("POST", "/v1/embeddings", openai.openai_embeddings, (Scope.PREDICT,)),
        summary="Embed texts",
        answers={200: openai.Embeddings},
        problems=_ASKING,
        body=openai.EmbeddingsRequest,
        query=AskQuery,
        parameters=(_KEY, _CACHE),
    ),
    _OPENAI("GET", "/v1/models", openai.openai_models, _ALL, "List models", {200: openai.OpenAIModels}, (429,)),
    _OPENAI(
        *("GET", "/v1/models/{name}", openai.openai_model, _ALL, "Read one model"),
        answers={200: openai.OpenAIModel},
        problems=(404, 429),
        parameters=(_MODEL,),
    ),
    _HF_ASK(
        *("POST", "/hf/{name}", hugging_face.hf_predict),
        summary="Predict, in the form of the model's task",
        answers={200: hugging_face.HuggingFaceAnswer},
        body=hugging_face.HuggingFaceRequest,
    ),
    _HF_ASK(
        *("POST", "/hf/{name}/embed", tei.tei_embed),
        summary="Embed texts",
        answers={200: tei.EmbedAnswer},
        body=tei.EmbedRequest,
    ),
    _HF_ASK(
        *("POST", "/hf/{name}/predict", tei.tei_predict),
        summary="Classify texts",
        answers={200: tei.TextsAnswer},
        body=tei.TextsRequest,
    ),
    _HF_ASK(
        *("POST", "/hf/{name}/rerank", tei.tei_rerank),
        summary="Rank texts by how well they answer a query",
        answers={200: tei.RerankAnswer},
        body=tei.RerankRequest,
    ),
    _HF_ASK(
        *("POST", "/hf/{name}/similarity", tei.tei_similarity),
        summary="Compare a sentence with others",
        answers={200: tei.SimilarityAnswer},
        body=tei.SimilarityRequest,
    ),
    _HF(
        *("GET", "/hf/{name}/info", tei.tei_info, _ALL, "What a model is"),
        answers={200: tei.ModelFacts},
        problems=(404, 429),
        parameters=(_MODEL,),
    ),
    _HF(
        *("GET", "/hf/{name}/health", tei.tei_health, _ALL, "Whether a model is served"),
        answers={200: None},
        problems=_READING,
        parameters=(_MODEL,),
    ),
)
