"""How alike sentences are to one: cosines of their embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from operator import mul
from typing import Any

from pydantic import Field, ValidationError

from gateway.core.order import Input
from gateway.http.problems import invalid_fields
from gateway.protocols.bodies import MOST_TEXTS, Body, text_input


class Sentences(Body):
    """A sentence, and those that it is compared with."""

    source_sentence: str = Field(min_length=1, description="the one that is compared")
    sentences: list[str] = Field(min_length=1, max_length=MOST_TEXTS - 1, description="those that it is compared with")


def similarity_inputs(given: Any) -> list[Input]:
    """The source, then the others, as inputs of a model that embeds.

    Raises:
        ProblemError: 422.
    """
    try:
        sentences = Sentences.model_validate(given)
    except ValidationError as error:
        raise invalid_fields("body", error) from None
    place = ("body", "inputs")
    source = text_input(sentences.source_sentence, (*place, "source_sentence"))
    others = [text_input(each, (*place, "sentences", index)) for index, each in enumerate(sentences.sentences)]
    return [source, *others]


async def similarities(results: Sequence[Any]) -> list[float]:
    """The cosine of each embedding, of length 1, with the first."""
    source, *others = [each["embedding"] for each in results]
    cosines = []
    for each in others:
        cosines.append(round(sum(map(mul, source, each)), 6))
        await asyncio.sleep(0)  # a thousand of them must not hold up all other requests
    return cosines
