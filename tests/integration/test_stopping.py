"""What nobody wants any more, as it was cancelled, is not computed to its end: between tokens and passes it is left.

Of text-generation: `test_text_generation`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference_worker.tasks import summarization
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.progress import telling
from inference_worker.tasks.protocol import Item
from tests.integration.test_hub_generation import bart, llama
from tests.tiny_families import CORPUS, encoder, translator

LONG = " ".join(CORPUS * 3)
Make = Callable[[Path], tuple[str, str, dict[str, Any]]]  # a task, an artifact, options


def beams(directory: Path) -> tuple[str, str, dict[str, Any]]:
    return "summarization", bart(directory, num_beams=2), {"min_length": 12, "max_length": 14}


def causal(directory: Path) -> tuple[str, str, dict[str, Any]]:
    return "summarization", llama(directory), {"min_length": 12, "max_length": 14}


def translating(directory: Path) -> tuple[str, str, dict[str, Any]]:
    generation = {"num_beams": 2, "max_new_tokens": 12, "min_new_tokens": 12}
    return "translation", translator(directory, "t5", **generation), {"src_lang": "en", "tgt_lang": "fr"}


@pytest.mark.parametrize("make", [beams, causal, translating])
def test_what_is_written_is_left_between_tokens(tmp_path: Path, make: Make) -> None:
    name, location, options = make(tmp_path)
    task: Any = load_task(name, location, token_budget=512)
    items = [Item(LONG, options), Item(CORPUS[0], options)]
    steps: list[int] = []
    task._model.register_forward_hook(lambda *_: steps.append(1))

    def computed(is_stopped: Callable[[int], bool]) -> tuple[list[Any], int]:
        batch = task.encode(items)
        steps.clear()
        outputs = telling(task.predict, batch, lambda *_: None, is_stopped)(batch)
        return [output.result for output in outputs], len(steps)

    whole, all_steps = computed(lambda place: False)
    assert all_steps >= 12
    assert computed(lambda place: True)[1] == 0
    _, begun = computed(lambda place: len(steps) >= 3)
    assert begun == 3  # of a pass of both that is under way
    left, of_one = computed(lambda place: place == 0 and len(steps) >= 3)
    assert of_one < all_steps and left[1] == whole[1]  # the other is as if it were alone


def test_sentences_are_chosen_from_in_parts_and_left_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task: Any = load_task("summarization", encoder(tmp_path, "bert", "AutoModel"))
    items = [Item(LONG), Item(" ".join(CORPUS))]
    embedded: list[int] = []
    embed = task._embedder.embed_unit

    def counted(rows: Any) -> Any:
        embedded.append(len(rows))
        return embed(rows)

    monkeypatch.setattr(task._embedder, "embed_unit", counted)
    at_once = task.predict(task.encode(items))
    monkeypatch.setattr(summarization, "_SENTENCES_AT_ONCE", 10)
    batch = task.encode(items)
    assert telling(task.predict, batch, lambda *_: None)(batch) == at_once
    total, *parts = embedded
    assert sum(parts) == total and max(parts) == 10
    embedded.clear()
    left = telling(task.predict, batch, lambda *_: None, lambda place: place == 0 and bool(embedded))(batch)
    assert left[1] == at_once[1] and sum(embedded) < 10 + 10
