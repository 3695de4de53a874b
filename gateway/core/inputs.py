"""The inputs of an order, between its parsing and its publishing: checked, redacted, and what is kept of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from gateway.core.errors import InvalidOrder
from gateway.core.order import Input, Order
from gateway.core.redaction import Redaction
from gateway.core.stored_input import stored_input
from shared.contract.catalogue import ServedVersion
from shared.contract.inputs import UnfitInput, encode_input, strings_of, with_strings
from shared.contract.tasks import TASKS

_A_TEXT = 'send `text`, or as `input` a string or {"text": …}'


class OrderLimits(NamedTuple):
    """Limits of one order."""

    max_texts: int
    max_text_chars: int


class Prepared(NamedTuple):
    """An order that may be published.

    Attributes:
        encoded: its inputs, as JSON for the stream.
        stored: what is kept of each: see `stored_input`.
    """

    order: Order
    encoded: list[bytes]
    stored: list[bytes]


class Inputs:
    """Prepares the inputs of orders.

    Args:
        digest_secret: of the digests that are kept of inputs.
        redaction: None for none.
    """

    def __init__(self, limits: OrderLimits, digest_secret: bytes = b"", redaction: Redaction | None = None) -> None:
        self._limits = limits
        self._digest_secret = digest_secret
        self._redaction = redaction

    def encoded(self, served: ServedVersion, order: Order) -> list[bytes]:
        """The inputs as JSON for the stream, if there are not too many and the version may be sent each.

        Raises:
            InvalidOrder: there are too many, or one is too large, blank, no text, or cannot be published or stored.
        """
        max_texts, max_chars = self._limits
        max_chars = min(max_chars, served.version.limits.chars or max_chars)
        if len(order.inputs) > max_texts:
            place = order.inputs[0].place[:-1]  # of the list of texts
            raise InvalidOrder([(place, f"must have at most {max_texts} texts, not {len(order.inputs)}")])
        task = TASKS.get(served.task)
        inputs = []
        for each in order.inputs:
            text, place = each.text, each.place
            encoded = _encoded(each)
            if text is None and task is not None and task.takes_text:
                raise InvalidOrder([(place, f"a {served.task} model takes a text: {_A_TEXT}")])
            size, unit = size_of(each, encoded), "bytes of JSON" if text is None else "characters"
            if size > max_chars:
                raise InvalidOrder([(place, f"must have at most {max_chars} {unit}, not {size}")])
            if text is not None and not text.strip() and (task is not None or not each.sent_as_input):
                raise InvalidOrder([(place, "must not be blank")])
            inputs.append(encoded)
        return inputs

    async def prepare(self, served: ServedVersion, order: Order, options: bytes, encoded: list[bytes]) -> Prepared:
        """The order as the model is to see it.

        Args:
            encoded: its inputs, as `encoded` gave them.

        Raises:
            RedactionFailed: a text could not be redacted.
            Refused: not in time.
            InvalidOrder: a redacted text is too long, or blank.
        """
        kept, redaction = served.store_input, self._redaction
        redacted: Sequence[Any] = [None] * len(order.inputs)
        if redaction is not None and redaction.stage == "input":
            values = await _redacted(redaction, order)
            inputs = [each._replace(value=value) for each, value in zip(order.inputs, values, strict=True)]
            order = order._replace(inputs=inputs)
            encoded = self.encoded(served, order)
        elif redaction is not None and kept == "whole":
            redacted = await _redacted(redaction, order)
        pairs = zip(order.inputs, redacted, strict=True)
        stored = [stored_input(kept, each.value, options, value, self._digest_secret) for each, value in pairs]
        return Prepared(order, encoded, stored)


def size_of(each: Input, encoded: bytes) -> int:
    """The size by which limits and costs count: see `shared.contract.inputs.size_of`."""
    return len(encoded) if each.text is None else len(each.text)


def _encoded(each: Input) -> bytes:
    if not each.sent_as_input:
        return orjson.dumps({"text": each.value})
    try:
        return encode_input(each.value)
    except UnfitInput as error:
        raise InvalidOrder([((*each.place, *error.path), str(error))]) from None


async def _redacted(redaction: Redaction, order: Order) -> list[Any]:
    """The inputs of an order, each string in them redacted; the names in objects stay."""
    strings = list(dict.fromkeys(text for each in order.inputs for text in strings_of(each.value)))
    redacted = dict(zip(strings, await redaction.redacted(strings), strict=True))
    return [with_strings(each.value, redacted) for each in order.inputs]
