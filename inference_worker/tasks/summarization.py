"""Task `summarization`: a shorter text, as `{"summary": "..."}`.

Three kinds of model do it, and the artifact's configuration tells which: an encoder-decoder or a causal language model
writes a summary (see `generative`), any other encoder picks the sentences that matter (see `extractive`).
`options.max_length` bounds the summary, in tokens for the first two and in words for the third.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.embedding import Embedder
from inference_worker.tasks.extractive import choose_sentences
from inference_worker.tasks.needs_torch import require_torch
from inference_worker.tasks.progress import UNTOLD, Telling
from inference_worker.tasks.protocol import Encoded, Item, Output
from inference_worker.tasks.sentences import split_sentences
from inference_worker.tasks.vectors import Floats

DEFAULT_MOST_WORDS = 120
_SENTENCES_AT_ONCE = 256  # about a second on a CPU: between them it is asked whether a text is still wanted
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

    def predict(self, batch: Sequence[Encoded], progress: Telling = UNTOLD) -> list[Output]:
        """Embed every sentence and choose; no confidence."""
        vectors = self._vectors(batch, progress)
        return [self._summary(each, own) for each, own in zip(batch, vectors, strict=True)]

    def _vectors(self, batch: Sequence[Encoded], progress: Telling) -> list[list[Floats]]:
        """Those of the sentences of each text; not all of one that nobody wants any more."""
        sentences = [(place, rows) for place, each in enumerate(batch) for rows in each.data[1]]
        vectors: list[list[Floats]] = [[] for _ in batch]
        for start in range(0, len(sentences), _SENTENCES_AT_ONCE):
            some = sentences[start : start + _SENTENCES_AT_ONCE]
            stopped = {place for place, _ in some if progress.stopped(place)}
            wanted = [(place, rows) for place, rows in some if place not in stopped]
            if wanted:
                embedded = self._embedder.embed_unit([rows for _, rows in wanted])
                for (place, _), vector in zip(wanted, embedded, strict=True):
                    vectors[place].append(vector)
        return vectors

    def _summary(self, text: Encoded, vectors: Sequence[Floats]) -> Output:
        sentences, _, most_words = text.data
        if len(vectors) < len(sentences):
            return Output({"summary": ""})  # nobody wants it
        chosen = choose_sentences(np.stack(vectors), sentences, most_words)
        return Output({"summary": " ".join(sentences[index] for index in chosen)})
