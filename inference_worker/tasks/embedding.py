"""Sentence embeddings: one unit vector for each text.

A sentence-transformers model is a transformers encoder and a pooling (Reimers & Gurevych, Sentence-BERT, EMNLP 2019);
`1_Pooling/config.json` says which. An encoder without that file is mean-pooled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.encoders import load_encoder
from inference_worker.tasks.forward import Forward, Reduce, average_by_weight, parts_of
from inference_worker.tasks.rows import Row
from inference_worker.tasks.tokens import TextTokenizer
from shared.contract.errors import ConfigurationError


class Embedder:
    """Texts to unit vectors. `rows` and `embed` may run in different threads."""

    def __init__(self, model: Any, tokenizer: TextTokenizer, token_budget: int, reduce: Reduce) -> None:
        self._tokenizer = tokenizer
        self._forward = Forward(model, tokenizer, token_budget, reduce)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> Embedder:
        """Load a sentence-transformers directory, or any transformers encoder.

        Raises:
            ConfigurationError: it is not an encoder, or it pools in a way that is not supported.
        """
        if artifact.config.is_encoder_decoder:
            raise ConfigurationError(f"{artifact.location} is an encoder-decoder: it has no text embeddings")
        reduce = _POOLINGS[pooling_mode(artifact)]
        tokenizer = TextTokenizer.load(artifact, _sentence_limit(artifact.directory))
        model = load_encoder(AutoModel, artifact, tokenizer.inputs, "last_hidden_state", optional=("pooler.",))
        return cls(model, tokenizer, token_budget, reduce)

    def rows(self, texts: Sequence[str]) -> list[list[Row]]:
        """Tokenize; the answer has the rows of each text, several if it is long."""
        return self._tokenizer.rows(texts)

    def embed(self, texts: Sequence[Sequence[Row]]) -> Tensor:
        """One unit vector for each text, float32, shape (texts, dimensions): the mean over its chunks, renormalized."""
        vectors = self._forward([row for rows in texts for row in rows])
        parts = parts_of(vectors, [len(rows) for rows in texts])
        means = [average_by_weight(part, rows) for part, rows in zip(parts, texts, strict=True)]
        return normalize(torch.stack(means), dim=1)


def pooling_mode(artifact: Artifact) -> str:
    """How the artifact pools token vectors: `mean`, `cls` or `max`.

    Raises:
        ConfigurationError: it pools in another way, or has layers that are not supported.
    """
    modules = _read_json(artifact.directory / "modules.json") or []
    kinds = {str(module["type"]).rsplit(".", 1)[-1] for module in modules}
    if kinds - {"Transformer", "Pooling", "Normalize"}:
        raise ConfigurationError(f"{artifact.location} has unsupported layers: {', '.join(sorted(kinds))}")
    pooling = next((module["path"] for module in modules if module["type"].endswith("Pooling")), "1_Pooling")
    config = _read_json(artifact.directory / pooling / "config.json") or {"pooling_mode_mean_tokens": True}
    wanted = [config["pooling_mode"]] if "pooling_mode" in config else []
    wanted += [key.split("_")[2] for key, on in config.items() if key.startswith("pooling_mode_") and on]
    if len(wanted) != 1 or wanted[0] not in _POOLINGS or config.get("pooling_mode_mean_sqrt_len_tokens"):
        raise ConfigurationError(f"{artifact.location} pools by {wanted}; supported: {', '.join(_POOLINGS)}")
    return str(wanted[0])


def _mean(output: Any, mask: Tensor) -> Tensor:
    inside = mask.unsqueeze(-1).float()
    return normalize((output.last_hidden_state.float() * inside).sum(1) / inside.sum(1), dim=1)


def _cls(output: Any, mask: Tensor) -> Tensor:
    return normalize(output.last_hidden_state[:, 0].float(), dim=1)


def _max(output: Any, mask: Tensor) -> Tensor:
    outside = (mask == 0).unsqueeze(-1)
    return normalize(output.last_hidden_state.float().masked_fill(outside, -torch.inf).amax(1), dim=1)


_POOLINGS: dict[str, Reduce] = {"mean": _mean, "cls": _cls, "max": _max}


def _sentence_limit(directory: Path) -> int | None:
    """The most that sentence-transformers reads: less than the encoder could, since the model was trained like that."""
    return (_read_json(directory / "sentence_bert_config.json") or {}).get("max_seq_length")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
