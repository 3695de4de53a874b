"""What the bodies of the protocols share. Pure."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gateway.control.experiments.assignment import SUBJECT_MAX_CHARS
from gateway.core.errors import Place
from gateway.core.order import Input
from gateway.http.problems import ProblemError, invalid
from shared.contract.inputs import problem_of
from shared.contract.tasks import NO_NUL

MOST_TEXTS = 1000  # MAX_BATCH_TEXTS is at most this

TEXT_SCHEMA = {"type": "string", "minLength": 1, "pattern": NO_NUL}
TEXT_OR_TEXTS_SCHEMA = {
    "anyOf": [TEXT_SCHEMA, {"type": "array", "minItems": 1, "maxItems": MOST_TEXTS, "items": TEXT_SCHEMA}]
}
Subject = Annotated[
    str,
    Field(
        max_length=SUBJECT_MAX_CHARS,
        pattern=NO_NUL,
        description="whom the request is made for: an experiment gives them always the same version",
    ),
]


class Body(BaseModel):
    """A body of which every field is known: what is not would change the answer, and does not."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def text_input(text: str, place: Place) -> Input:
    """A text as an input.

    Raises:
        ProblemError: 422, it cannot be stored.
    """
    if problem := problem_of(text):
        raise invalid([(place, problem)])
    return Input(text, place)


def text_inputs(given: Any, *place: str) -> list[Input]:
    """A text, or a list of texts, as inputs.

    Raises:
        ProblemError: 422, it is something else; 400, it is token ids.
    """
    if isinstance(given, str):
        return [text_input(given, place)]
    if not isinstance(given, list) or not given:
        raise invalid([(place, "must be a text, or a list of texts that is not empty")])
    if any(isinstance(each, int | list) for each in given):
        detail = (
            "must be a text or a list of texts: token ids are those of another tokenizer (LangChain: "
            "check_embedding_ctx_length=False)"
        )
        raise ProblemError(400, "token-ids", f"{'.'.join(place)} {detail}", errors=[(place, detail)])
    for index, each in enumerate(given):
        if not isinstance(each, str):
            raise invalid([((*place, index), "must be a text")])
    return [text_input(each, (*place, index)) for index, each in enumerate(given)]
