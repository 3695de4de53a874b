"""Padding that linear layers leave out: every answer stays as it was, and fewer tokens are computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item
from inference_worker.tasks.torch_models import TorchEncoder
from tests.tiny_families import ENCODERS, LIMIT, encoder, save, wordpiece

CLASSIFIER = "AutoModelForSequenceClassification"
ITEMS = [Item(text) for text in ("the bridge", "the bridge is closed this example about a b", "a", "closed")]


def encoder_of(task: Any) -> TorchEncoder:
    """What computes a task."""
    found = task._forward._model
    assert isinstance(found, TorchEncoder)
    return found


def scores(task: Any, items: Sequence[Item]) -> torch.Tensor:
    return torch.tensor([list(each.result["scores"].values()) for each in task.predict(task.encode(items))])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each call of a linear layer had."""
    counts: list[int] = []
    linear = functional.linear

    def counted(hidden: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        counts.append(hidden.numel() // hidden.shape[-1])
        return linear(hidden, *rest)

    monkeypatch.setattr(functional, "linear", counted)
    return counts


@pytest.mark.parametrize("family", ENCODERS)
def test_what_is_left_out_changes_no_answer(tmp_path: Path, computed: list[int], family: str) -> None:
    task: Any = load_task("text-classification", encoder(tmp_path, family, CLASSIFIER, num_labels=3))
    model = encoder_of(task)
    assert model.skips_padding
    tokens = sum(each.tokens for each in task.encode(ITEMS))
    computed.clear()
    without = scores(task, ITEMS)
    assert max(computed) <= tokens
    model.skips_padding = False
    computed.clear()
    assert torch.allclose(without, scores(task, ITEMS), atol=1e-5)
    assert max(computed) > tokens


def test_texts_of_one_length_are_computed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task: Any = load_task("text-classification", encoder(tmp_path, "bert", CLASSIFIER, num_labels=3))
    left_out: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "index_copy_", lambda self, *rest: left_out.append(self))
    scores(task, [ITEMS[0]] * 4)
    assert not left_out


def test_a_model_that_has_the_tokens_first_computes_them_all(tmp_path: Path) -> None:
    tokenizer = transformers.BertTokenizer(vocab=wordpiece(), model_max_length=LIMIT)
    sizes = {"d_model": 32, "n_head": 2, "n_layer": 2, "d_inner": 32, "num_labels": 3}
    location = save(tmp_path, tokenizer, "XLNetConfig", CLASSIFIER, sizes)
    task: Any = load_task("text-classification", location)
    assert not encoder_of(task).skips_padding
    alone = torch.cat([scores(task, [each]) for each in ITEMS])
    assert torch.allclose(alone, scores(task, ITEMS), atol=1e-4)
