"""The texts of an order, between its parsing and its publishing: checked, redacted, and what is kept of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.core.errors import InvalidOrder
from gateway.core.order import Order
from gateway.core.redaction import Redaction
from gateway.core.stored_input import stored_input
from shared.contract.catalogue import ServedVersion


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
        """Check how many texts there are, and how long each is.

        Raises:
            InvalidOrder: there are too many, or one is too long or blank.
        """
        max_texts, max_chars = self._limits
        max_chars = min(max_chars, served.version.limits.chars or max_chars)
        if len(order.inputs) > max_texts:
            place = order.inputs[0].place[:-1]  # of the list of texts
            raise InvalidOrder([(place, f"must have at most {max_texts} texts, not {len(order.inputs)}")])
        for text, place in order.inputs:
            if len(text) > max_chars:
                raise InvalidOrder([(place, f"must have at most {max_chars} characters, not {len(text)}")])
            if not text.strip():
                raise InvalidOrder([(place, "must not be blank")])

    async def prepare(self, served: ServedVersion, order: Order, options: bytes) -> tuple[Order, list[bytes]]:
        """The order as the model is to see it, and what is kept of each input: see `stored_input`.

        Raises:
            RedactionFailed: a text could not be redacted.
            Refused: not in time.
            InvalidOrder: a redacted text is too long, or blank.
        """
        kept, redaction = served.store_input, self._redaction
        redacted: Sequence[str | None] = [None] * len(order.inputs)
        if redaction is not None and redaction.stage == "input":
            texts = await redaction.redacted([each.text for each in order.inputs])
            inputs = [each._replace(text=text) for each, text in zip(order.inputs, texts, strict=True)]
            order = order._replace(inputs=inputs)
            self.check(served, order)
        elif redaction is not None and kept == "whole":
            redacted = await redaction.redacted([each.text for each in order.inputs])
        pairs = zip(order.inputs, redacted, strict=True)
        return order, [stored_input(kept, each.text, options, text, self._digest_secret) for each, text in pairs]
