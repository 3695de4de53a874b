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

    def check(self, served: ServedVersion, order: Order) -> None:
        """Check how many inputs there are, how large each is, and whether it is a text where only texts are taken.

        Raises:
            InvalidOrder: there are too many, or one is too large, blank, or no text.
        """
        max_texts, max_chars = self._limits
        max_chars = min(max_chars, served.version.limits.chars or max_chars)
        if len(order.inputs) > max_texts:
            place = order.inputs[0].place[:-1]  # of the list of texts
            raise InvalidOrder([(place, f"must have at most {max_texts} texts, not {len(order.inputs)}")])
        task = TASKS.get(served.task)
        for each in order.inputs:
            text, place = each.text, each.place
            encoded = encoded_input(each) if each.sent_as_input else b""
            if text is None:
                if task is not None and task.takes_text:
                    raise InvalidOrder([(place, f"a {served.task} model takes a text: {_A_TEXT}")])
                size, unit = len(encoded), "bytes of JSON"
            else:
                size, unit = len(text), "characters"
            if size > max_chars:
                raise InvalidOrder([(place, f"must have at most {max_chars} {unit}, not {size}")])
            if text is not None and not text.strip() and (task is not None or not each.sent_as_input):
                raise InvalidOrder([(place, "must not be blank")])

    async def prepare(self, served: ServedVersion, order: Order, options: bytes) -> tuple[Order, list[bytes]]:
        """The order as the model is to see it, and what is kept of each input: see `stored_input`.

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
            self.check(served, order)
        elif redaction is not None and kept == "whole":
            redacted = await _redacted(redaction, order)
        pairs = zip(order.inputs, redacted, strict=True)
        return order, [stored_input(kept, each.value, options, value, self._digest_secret) for each, value in pairs]


def encoded_input(each: Input) -> bytes:
    """An input as JSON for the stream.

    Raises:
        InvalidOrder: it has what cannot be published or stored.
    """
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
