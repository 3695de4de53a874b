"""Task `summarization`: a shorter text, as `{"summary": "..."}`.

Three kinds of model do it, and the artifact's configuration tells which: an encoder-decoder or a causal language model
writes a summary (see `generative`), any other encoder picks the sentences that matter (see `extractive`).
`options.max_length` bounds the summary, in tokens for the first two and in words for the third.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.embedding import Embedder
from inference_worker.tasks.extractive import choose_sentences
from inference_worker.tasks.needs_torch import require_torch
from inference_worker.tasks.protocol import Encoded, Item, Output
from inference_worker.tasks.sentences import split_sentences

DEFAULT_MOST_WORDS = 120
_SAMPLE = Item(
    "The bridge over the river was closed on Monday after an inspection. Engineers had found cracks in two beams. "
    "Repairs will take about six weeks, the council said. Until then traffic is led over the old road to the north."
)


def load_summarization(artifact: Artifact, token_budget: int) -> Any:
    """Load a summarizer of the kind the artifact is (see the module's text)."""
    written = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    nameless = artifact.is_causal and not artifact.architecture
    if artifact.config.is_encoder_decoder or nameless or artifact.architecture.endswith(written):
        require_torch(f"{artifact.location} writes its summaries, which needs")
        writing = import_module("inference_worker.tasks.generative").GenerativeSummarization
        return writing.load(artifact, token_budget, _SAMPLE)
    return ExtractiveSummarization(Embedder.load(artifact, token_budget))


class ExtractiveSummarization:
    """Summaries made of the text's own sentences."""

    sample = _SAMPLE

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Split and tokenize; `data` is (sentences, rows of each sentence, most words).

        Raises:
            ValueError: a text is blank.
        """
        texts = [split_sentences(item.text) for item in items]
        if not all(texts):
            raise ValueError("a blank text has no summary")
        rows = iter(self._embedder.rows([sentence for sentences in texts for sentence in sentences]))
        encoded = []
        for item, sentences in zip(items, texts, strict=True):
            own = [next(rows) for _ in sentences]
            longest = max(len(row.ids) for sentence in own for row in sentence)
            most_words = item.options.get("max_length") or DEFAULT_MOST_WORDS
            encoded.append(Encoded(longest, (sentences, own, most_words), sum(map(len, own))))
        return encoded

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Embed every sentence and choose; no confidence."""
        vectors = self._embedder.embed_unit([rows for each in batch for rows in each.data[1]])
        outputs, start = [], 0
        for each in batch:
            sentences, _, most_words = each.data
            own = vectors[start : start + len(sentences)]
            start += len(sentences)
            chosen = choose_sentences(own, sentences, most_words)
            outputs.append(Output({"summary": " ".join(sentences[index] for index in chosen)}))
        return outputs
