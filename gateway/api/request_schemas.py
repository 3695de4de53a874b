"""Request bodies, as pydantic models for validation and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from gateway.control.experiments.assignment import SUBJECT_MAX_CHARS
from shared.contract.callbacks import MOST_CHARS as CALLBACK_MAX_CHARS
from shared.contract.catalogue import Catalogue
from shared.contract.messages import MODEL_MAX_CHARS, VERSION_MAX_CHARS
from shared.contract.queues import Priority
from shared.contract.tags import KEY_PATTERN, MOST_TAGS, VALUE_PATTERN
from shared.contract.tasks import NO_NUL, TASKS

# For the OpenAPI document: no NUL, and not only blanks as `str.strip` defines them (`\s` differs between languages).
_BLANK = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
TEXT_PATTERN = rf"^[^\x00]*[^\x00{_BLANK}][^\x00]*$"

MOST_TEXTS = 1000  # MAX_BATCH_TEXTS is at most this: a list over it is refused before its texts are looked at

Text = Annotated[str, Field(min_length=1, pattern=NO_NUL)]
_TEXT_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "pattern": TEXT_PATTERN,
    "description": "the input text; must not be blank",
}
_TEXTS_SCHEMA = {"type": "array", "minItems": 1, "maxItems": MOST_TEXTS, "items": _TEXT_SCHEMA}
_Model = Annotated[
    str, Field(min_length=1, max_length=MODEL_MAX_CHARS, description="name of a model, see /api/v1/models")
]
# Which options exist depends on the catalogue: see `options_schema`. They are validated once the task is known.
_Options = Annotated[dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/Options"})]
_Version = Annotated[
    str,
    Field(
        min_length=1,
        max_length=VERSION_MAX_CHARS,
        description="version of the model; default: the model's default version",
    ),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _is_none(value: Any) -> bool:
    return value is None


# Both are left out of what an Idempotency-Key stands for if they are not given: as before there were any.
_Subject = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=SUBJECT_MAX_CHARS,
        pattern=NO_NUL,
        description="whom the request is made for, such as a user or session id of yours: an experiment gives them "
        "always the same version; default: the caller. Only a digest is stored",
        exclude_if=lambda subject: subject is None,
    ),
]


_Priority = Annotated[
    Priority,
    Field(
        description="`batch` for work that may take its time: it is computed after what is `interactive`, but one turn "
        "in eight is its own",
        exclude_if=lambda priority: priority is Priority.INTERACTIVE,
    ),
]


_Key = Annotated[str, Field(pattern=KEY_PATTERN)]
_Value = Annotated[str, Field(pattern=VALUE_PATTERN)]
_TAGS_SCHEMA = {
    "type": "object",
    "maxProperties": MOST_TAGS,
    "propertyNames": {"pattern": KEY_PATTERN},
    "additionalProperties": {"type": "string", "pattern": VALUE_PATTERN},
}
_Tags = Annotated[
    Annotated[dict[_Key, _Value], WithJsonSchema(_TAGS_SCHEMA)] | None,
    Field(
        max_length=MOST_TAGS,
        examples=[{"team": "search", "run": "2026-11-28"}],
        description=f"to find it by (`?tag=key:value` of the list): at most {MOST_TAGS} pairs of short texts, stored "
        "as they are",
        exclude_if=_is_none,
    ),
]


_Callback = Annotated[
    Annotated[str, Field(min_length=1, max_length=CALLBACK_MAX_CHARS, pattern=NO_NUL)] | None,
    Field(
        description="https URL of yours that is told when it has finished, if this deployment allows its host",
        exclude_if=_is_none,
    ),
]


_INPUT = "for models that take something else than a text: an object, a list, or any other JSON"
_INPUT_SCHEMA = {"type": ["object", "array", "string", "number", "boolean"], "description": _INPUT}
_INPUTS_SCHEMA = {"type": "array", "minItems": 1, "maxItems": MOST_TEXTS, "items": _INPUT_SCHEMA}


def _one_of(name: str, other: str) -> Callable[[dict[str, Any]], None]:
    """What the schema of a body says of two fields of which one is given, and neither is null."""

    def change(schema: dict[str, Any]) -> None:
        schema["oneOf"] = [{"required": [each]} for each in (name, other)]
        for each in (name, other):
            schema["properties"][each].pop("default")

    return change


class PredictRequest(_Strict):
    """One input for one model: a `text`, or any JSON as `input`."""

    model_config = ConfigDict(json_schema_extra=_one_of("text", "input"))

    model: _Model = Field(examples=["sentiment-analysis"])
    text: Annotated[Text | None, WithJsonSchema(_TEXT_SCHEMA)] = Field(
        None, examples=["This is great!"], exclude_if=_is_none
    )
    input: Annotated[Any, WithJsonSchema(_INPUT_SCHEMA)] = Field(
        None, examples=[{"petal_length": 4.7}], exclude_if=_is_none
    )
    version: _Version | None = Field(
        None, examples=["1.0.0"], description="the name of a version; default: the model's default"
    )
    options: _Options | None = Field(None, description="of the task; default: none")
    subject: _Subject = None
    priority: _Priority = Priority.INTERACTIVE
    tags: _Tags = None
    callback_url: _Callback = None


class BatchRequest(_Strict):
    """Several inputs for one model, `texts` or any JSON as `inputs`; accepted or refused as a whole."""

    model_config = ConfigDict(json_schema_extra=_one_of("texts", "inputs"))

    model: _Model = Field(examples=["sentiment-analysis"])
    texts: Annotated[list[Text] | None, WithJsonSchema(_TEXTS_SCHEMA)] = Field(
        None,
        min_length=1,
        max_length=MOST_TEXTS,
        examples=[["This is great!", "This is bad."]],
        exclude_if=_is_none,
        description="what to predict for, if the model takes texts",
    )
    inputs: Annotated[list[Any] | None, WithJsonSchema(_INPUTS_SCHEMA)] = Field(
        None,
        min_length=1,
        max_length=MOST_TEXTS,
        examples=[[{"petal_length": 4.7}]],
        exclude_if=_is_none,
        description="what to predict for: any JSON that the model takes",
    )
    version: _Version | None = Field(
        None, examples=["1.0.0"], description="the name of a version; default: the model's default"
    )
    options: _Options | None = Field(None, description="of the task; default: none")
    subject: _Subject = None
    priority: _Priority = Priority.INTERACTIVE
    tags: _Tags = None
    callback_url: _Callback = None


def bounds_schema(max_text_chars: int, max_batch_texts: int) -> dict[str, Any]:
    """What the settings add to the schemas of the bodies: how long texts may be, and how many."""
    text = {"maxLength": max_text_chars}
    return {
        "PredictRequest": {"properties": {"text": text}},
        "BatchRequest": {"properties": {"texts": {"maxItems": max_batch_texts, "items": text}}},
    }


def options_schema(catalogue: Catalogue) -> dict[str, Any]:
    """The schema of `options`: those of every built-in task and of this catalogue's custom tasks.

    A model accepts only those of its own task.
    """
    properties: dict[str, Any] = {}
    for model in catalogue.models:
        properties |= {} if model.task in TASKS else {name: {} for name in model.options}
    for task in TASKS.values():
        for name, schema in _properties(task.options).items():
            known = properties.get(name)  # another task's option of that name: either is right
            properties[name] = {"anyOf": [*known.get("anyOf", [known]), schema]} if known else schema
    description = "options of the model's task"
    return {"type": "object", "description": description, "properties": properties, "additionalProperties": False}


@cache  # tests make many applications
def _properties(options: type[BaseModel]) -> Mapping[str, Any]:
    properties: dict[str, Any] = options.model_json_schema().get("properties", {})
    return properties
