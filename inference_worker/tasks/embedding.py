"""Embeddings of texts: what sentence-transformers' `encode` answers; of long texts the mean of their chunks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.encoders import Computed, load_encoder
from inference_worker.tasks.forward import Forward
from inference_worker.tasks.hub import words
from inference_worker.tasks.protocol import InvalidInput
from inference_worker.tasks.rows import Row
from inference_worker.tasks.sentence_transformers import Head, Settings, read_head, read_settings
from inference_worker.tasks.tokens import TextTokenizer
from inference_worker.tasks.vectors import Floats, average_by_weight, parts_of, unit
from shared.contract.errors import ConfigurationError

_ENCODERS_ALONE = {  # of encoder-decoders, as sentence-transformers takes them
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
}
_SAMPLE = "A text to measure the distance to other texts by."


class Embedder:
    """Texts to vectors. `rows` and `embed` may run in different threads.

    Attributes:
        settings: what the repository says of its use.
        size: how many numbers a vector has.
    """

    def __init__(
        self, model: Computed, tokenizer: TextTokenizer, token_budget: int, head: Head, settings: Settings
    ) -> None:
        self.settings = settings
        self._tokenizer = tokenizer
        self._head = head
        self._forward = Forward(
            model, tokenizer, token_budget, lambda output, mask: head.pooled(output.last_hidden_state, mask)
        )
        [sample] = head.finished(self._forward(self.rows([_SAMPLE])[0][:1]))
        self.size = len(sample)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> Embedder:
        """Load a sentence-transformers directory, or any transformers encoder.

        Raises:
            ConfigurationError: it is not an encoder, or has modules that are not supported.
        """
        auto_class = _auto_class(artifact)
        settings, head = read_settings(artifact), read_head(artifact)
        tokenizer = TextTokenizer.load(artifact, settings.limit)
        if settings.lower_case:
            tokenizer.lower_case()
        model = load_encoder(auto_class, artifact, tokenizer.inputs, "last_hidden_state", optional=("pooler.",))
        try:
            return cls(model, tokenizer, token_budget, head, settings)
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise ConfigurationError(
                f"{artifact.location} does not give a vector for each token of a text ({words(error)}): it is no text "
                "encoder, or its modules do not fit it"
            ) from error

    def rows(self, texts: Sequence[str], prompt_name: str | None = None) -> list[list[Row]]:
        """Tokenize; the answer has the rows of each text, several if it is long.

        Args:
            prompt_name: which of the model's prompts is written before each text; None for its default.

        Raises:
            InvalidInput: there is no such prompt, or it leaves no room.
        """
        prompts = self.settings.prompts
        if prompt_name is not None and prompt_name not in prompts:
            has = ", ".join(map(repr, prompts)) or "none"
            raise InvalidInput(f"options.prompt_name: the model has no prompt {prompt_name!r}; it has {has}")
        prompt = prompts.get(prompt_name or self.settings.default_prompt, "")
        return self._tokenizer.prompted_rows(prompt, texts, pooled=self._head.with_prompt)

    def embed(self, texts: Sequence[Sequence[Row]]) -> Floats:
        """One vector for each text, float32, shape (texts, size).

        That of several chunks is the mean of theirs, which has length 1 if theirs have.
        """
        vectors = self._head.finished(self._forward([row for rows in texts for row in rows]))
        parts = parts_of(vectors, [len(rows) for rows in texts])
        means = [average_by_weight(part, rows) for part, rows in zip(parts, texts, strict=True)]
        return np.stack([unit(mean) if self._head.normalizes else mean for mean in means])

    def embed_unit(self, texts: Sequence[Sequence[Row]]) -> Floats:
        """The same directions with length 1, for cosines."""
        return unit(self.embed(texts))


def _auto_class(artifact: Artifact) -> str:
    alone = _ENCODERS_ALONE.get(artifact.config.model_type)
    if alone is None and artifact.config.is_encoder_decoder:
        raise ConfigurationError(
            f"{artifact.location} is an encoder-decoder ({artifact.config.model_type}): it has no text embeddings"
        )
    return alone or "AutoModel"
