"""What built-in tasks take and give, as JSON Schema, with an example of an input. Pure.

A task whose example depends on its model has none here: workers tell the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
# The least PNG: one grey pixel.
_IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def _object(**fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": [*fields]}


def _input(**fields: Schema) -> Schema:
    return {**_object(**fields), "additionalProperties": False}


def _list(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


def _of_a_text(output: Schema, example: str) -> dict[str, Any]:
    return {"input": _TEXT, "output": output, "example": example}


_PLACE = {"start": _COUNT, "end": _COUNT}  # in characters
_LABELS = _object(label=_STRING, scores={"type": "object", "additionalProperties": _NUMBER})
_MESSAGE = _input(role={"type": "string", "enum": ["system", "user", "assistant"]}, content=_TEXT)
_CHAT = {
    **_input(messages=_list(_MESSAGE, minItems=1, maxItems=256)),
    "description": "a chat, of models that have a chat template; the last message is the user's",
}
_NEWS = "The bridge over the river was closed on Monday. Repairs take six weeks. Buses take another way until then."

TASK_SCHEMAS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "text-classification": _of_a_text(_LABELS, "This is great!"),
        "summarization": _of_a_text(_object(summary=_STRING), _NEWS),
        "feature-extraction": _of_a_text(_object(embedding=_list(_NUMBER)), "The bridge is closed."),
        "zero-shot-classification": _of_a_text(_LABELS, "The bridge is closed.")
        | {"example_options": {"labels": ["traffic", "sport"]}},
        "token-classification": _of_a_text(
            _object(entities=_list(_object(label=_STRING, text=_STRING, **_PLACE, score=_PROBABILITY))),
            "Ada Lovelace wrote to Charles Babbage in London.",
        ),
        "fill-mask": {
            "input": _TEXT,
            "output": _object(masks=_list(_list(_object(token=_COUNT, text=_STRING, score=_PROBABILITY)))),
        },
        "translation": {"input": _TEXT, "output": _object(translation=_STRING)},
        "text-generation": {
            "input": {"anyOf": [_TEXT, _CHAT]},
            "output": _object(
                text=_STRING,
                finish_reason={"type": "string", "enum": ["stop", "length"]},
                prompt_tokens=_COUNT,
                new_tokens=_COUNT,
            ),
            "example": "Name a river in France.",
            "example_options": {"max_new_tokens": 40},
        },
        "text-ranking": {
            "input": _input(query=_TEXT, documents=_list(_TEXT, minItems=1, maxItems=256)),
            "output": _object(ranking=_list(_object(index=_COUNT, score=_NUMBER))),
            "example": {
                "query": "When was the bridge closed?",
                "documents": ["Repairs take six weeks.", "It was closed on Monday."],
            },
        },
        "question-answering": {
            "input": _input(question=_TEXT, context=_TEXT),
            "output": _object(answers=_list(_object(text=_STRING, **_PLACE, score=_NUMBER))),
            "example": {"question": "When was it closed?", "context": "The bridge was closed on Monday."},
        },
        "image-classification": {
            "input": {
                "anyOf": [_TEXT, _input(image=_TEXT)],
                "description": "an image, as base64 or a `data:` URL, or an object with that as `image`",
            },
            "output": _LABELS,
            "example": _IMAGE,
        },
    }
)
