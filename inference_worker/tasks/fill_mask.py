"""Task `fill-mask`: what may stand where a text has the model's mask, such as `[MASK]` or `<mask>`.

The result is `{"masks": [[{"token", "text", "score"}]]}`: for each mask, in the order of the text, the best tokens by
their ids, texts and probabilities, each mask for itself. A text must fit the model: what stands around a mask decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.encoders import Computed, load_encoder
from inference_worker.tasks.forward import Forward
from inference_worker.tasks.protocol import Encoded, InvalidInput, Item, Output
from inference_worker.tasks.tokens import TextTokenizer, TokenizedText
from inference_worker.tasks.vectors import Floats, rounded, softmax
from shared.contract.errors import ConfigurationError

MOST_MASKS = 16  # in a text: a vocabulary of 250,000 tokens has a megabyte of scores for each
DEFAULT_TOP_K = 5


class FillMask:
    """Any masked language model."""

    def __init__(self, model: Computed, tokenizer: TextTokenizer, token_budget: int) -> None:
        self._tokenizer = tokenizer
        self._mask_id = tokenizer.raw.mask_token_id
        self.sample = Item(f"The bridge over the river is {tokenizer.raw.mask_token} today.")
        self._forward = Forward(model, tokenizer, token_budget, lambda output, mask: output.logits)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> FillMask:
        """Load a masked language model.

        Raises:
            ConfigurationError: its tokenizer has no mask, or the artifact is a model of another kind.
        """
        tokenizer = TextTokenizer.load(artifact)
        if tokenizer.raw.mask_token_id is None:
            raise ConfigurationError(f"{artifact.location} has no mask token: fill-mask needs a masked language model")
        tokenizer.read_masks()
        model = load_encoder("AutoModelForMaskedLM", artifact, tokenizer.inputs, "logits")
        return cls(model, tokenizer, token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is (row, positions of the masks, how many tokens are wanted for each).

        Raises:
            InvalidInput: a text has no mask, too many, or does not fit the model.
        """
        texts = self._tokenizer.tokenize([item.text for item in items])
        return [
            self._encode(text, item.options.get("top_k", DEFAULT_TOP_K))
            for text, item in zip(texts, items, strict=True)
        ]

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Fill; the confidence is the score of the best token of the least sure mask."""
        outputs: dict[int, Output] = {}
        rows, masks = [each.data[0] for each in batch], [each.data[1] for each in batch]
        for index, logits in self._forward.each_token(rows, masks.__getitem__):
            outputs[index] = self._output(softmax(logits), batch[index].data[2])
        return [outputs[index] for index in range(len(batch))]

    def _encode(self, text: TokenizedText, top_k: int) -> Encoded:
        mask = self._tokenizer.raw.mask_token
        row = self._tokenizer.row(text.ids)
        masks = [at for at, token in enumerate(row.ids) if token == self._mask_id]
        if not 1 <= len(masks) <= MOST_MASKS:
            raise InvalidInput(f"the text must have the mask {mask} 1 to {MOST_MASKS} times, not {len(masks)}")
        if len(row.ids) > self._tokenizer.limit:
            raise InvalidInput(
                f"the text has {len(row.ids)} tokens; a model that reads {self._tokenizer.limit} fills no mask in it"
            )
        return Encoded(len(row.ids), (row, masks, top_k))

    def _output(self, scores: Floats, top_k: int) -> Output:
        best = np.argsort(-scores, axis=1)[:, :top_k]
        masks = [
            [
                {"token": token, "text": self._tokenizer.raw.decode([token]), "score": score}
                for token, score in zip(ids.tolist(), rounded(own[ids]), strict=True)
            ]
            for ids, own in zip(best, scores, strict=True)
        ]
        return Output({"masks": masks}, min(mask[0]["score"] for mask in masks))
