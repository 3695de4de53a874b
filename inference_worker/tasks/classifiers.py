"""Sequence classifiers, loaded in one way whatever task asks for one: encoders, encoder-decoders, language models."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from safetensors import safe_open

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.directories import ADAPTER_WEIGHTS, WEIGHTS, read_json
from inference_worker.tasks.encoders import Computed, load_encoder
from inference_worker.tasks.tokens import TextTokenizer

log = logging.getLogger(__name__)

_SUFFIX = "ForSequenceClassification"
_HEADS = ("classifier.", "score.", "classification_head.", "logits_proj.", "sequence_summary.", "pre_classifier.")


def load_classifier(artifact: Artifact) -> tuple[Computed, TextTokenizer]:
    """Load a sequence classifier and its tokenizer.

    Raises:
        ConfigurationError: the artifact has no trained classification head, or no tokenizer.
    """
    tokenizer = TextTokenizer.load(artifact)
    if artifact.is_causal and tokenizer.pad_id is not None:
        artifact.config.pad_token_id = tokenizer.pad_id  # it finds a row's last token by it
        artifact.config.get_text_config().pad_token_id = tokenizer.pad_id
    model = load_encoder("AutoModelForSequenceClassification", artifact, tokenizer.inputs, "logits")
    return model, tokenizer


def is_classifier(artifact: Artifact) -> bool:
    """Whether it has a classification head: by its configuration, or by its weights if that does not say."""
    if artifact.architecture and artifact.home == artifact.directory:
        return artifact.architecture.endswith(_SUFFIX)
    names = _weight_names(artifact)
    return artifact.architecture.endswith(_SUFFIX) or any(part in f".{name}" for name in names for part in _dotted())


def labels_of(config: Any) -> list[str]:
    """The names of a classifier's answers, in order. Of those that are named alike, the later ones are numbered."""
    names = [str(config.id2label[index]) for index in range(config.num_labels)]
    if len(set(names)) == len(names):
        return names
    seen: Counter[str] = Counter()
    made: list[str] = []
    for name in names:
        seen[name] += 1
        number = seen[name]
        while (label := name if number == 1 else f"{name} ({number})") in made:
            number += 1
        made.append(label)
    log.warning("several labels have one name in config.json: they are told apart as %s", ", ".join(made))
    return made


def _dotted() -> Sequence[str]:
    return [f".{head}" for head in _HEADS]


def _weight_names(artifact: Artifact) -> Sequence[str]:
    for path in (artifact.home / ADAPTER_WEIGHTS, *(artifact.directory / name for name in WEIGHTS)):
        if path.suffix == ".json" and path.is_file():
            return list(read_json(path)["weight_map"])
        if path.is_file():
            with safe_open(path, framework="np") as file:
                return list(file.keys())
    return ()
