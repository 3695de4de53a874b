"""Tasks about the tokens of a text, on several architectures (FIXTURES), against transformers' own pipelines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import InvalidInput, Item, Task
from shared.contract.errors import ConfigurationError
from tests.task_outputs import check_task
from tests.tiny_families import CORPUS, ENCODERS, encoder, texts
from tests.tiny_models import bert, save

TOKENS = "AutoModelForTokenClassification"
LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}


@pytest.fixture(scope="module", params=ENCODERS)
def tagger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp(request.param)
    return encoder(directory, request.param, TOKENS, id2label=LABELS)


@pytest.fixture(scope="module", params=ENCODERS)
def filler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return encoder(tmp_path_factory.mktemp(request.param), request.param, "AutoModelForMaskedLM")


def answers(task: Task, items: list[Item]) -> list[Any]:
    return [output.result for output in task.predict(task.encode(items))]


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_entities_are_those_of_the_pipeline_alone_and_among_others(tagger: str) -> None:
    task = load_task("token-classification", tagger)
    reference: Any = transformers.pipeline("token-classification", tagger, device="cpu")
    for strategy in ("none", "simple", "first", "average", "max"):
        items = [Item(text, {"aggregation_strategy": strategy}) for text in texts()[:4]]
        together = answers(task, items)
        for item, found in zip(items, together, strict=True):
            wanted = reference(item.text, aggregation_strategy=strategy)
            label = "entity" if strategy == "none" else "entity_group"
            assert parts(found) == [(each[label], each["start"], each["end"]) for each in wanted]
            assert scores(found) == pytest.approx([float(each["score"]) for each in wanted], abs=1e-5)
            assert all(each["text"] == item.text[each["start"] : each["end"]] for each in found["entities"])
        [alone] = answers(task, items[1:2])
        assert parts(alone) == parts(together[1]) and scores(alone) == pytest.approx(scores(together[1]), abs=1e-5)


def parts(found: Any) -> list[Any]:
    return [(each["label"], each["start"], each["end"]) for each in found["entities"]]


def scores(found: Any) -> list[float]:
    return [each["score"] for each in found["entities"]]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("family", ["bert", "deberta-v2", "modernbert"])
def test_engines_find_what_torch_finds(tmp_path: Path, family: str, engine: str) -> None:
    location = encoder(tmp_path, family, TOKENS, id2label=LABELS)
    torches, others = (load_task("token-classification", location, engine=each) for each in ("torch", engine))
    items = [Item(text, {"aggregation_strategy": "average"}) for text in [*texts(), " ".join(CORPUS)]]
    for one, other in zip(answers(torches, items), answers(others, items), strict=True):
        assert parts(one) == parts(other) and scores(one) == pytest.approx(scores(other), abs=1e-4)


def test_a_long_text_is_read_whole_and_offsets_are_of_the_text_as_sent(tagger: str) -> None:
    task = load_task("token-classification", tagger)
    before, last = "\n".join(CORPUS) + "\n", "Zoë Smith lives in Berlin."
    [encoded] = task.encode([Item(before + last, {"aggregation_strategy": "none"})])
    assert encoded.rows > 1
    [output] = task.predict([encoded])
    [alone] = answers(task, [Item(before[-101:] + last, {"aggregation_strategy": "none"})])
    found = output.result["entities"]
    assert all((before + last)[each["start"] : each["end"]] == each["text"] for each in found)
    assert [each["text"] for each in found if each["start"] > len(before)]
    assert output.confidence == min(scores(output.result))
    check_task("token-classification", task, output)
    assert len(found) > len(alone["entities"])


def test_what_is_outside_is_no_entity_and_a_text_without_any_has_no_confidence(tmp_path: Path) -> None:
    task = load_task("token-classification", encoder(tmp_path, "bert", TOKENS, id2label={0: "O", 1: "O"}))
    [output] = task.predict(task.encode([Item("Paris.")]))
    assert (output.result, output.confidence) == ({"entities": []}, None)


def test_an_answer_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    location = encoder(tmp_path, "bert", TOKENS, id2label=LABELS)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        weights | {"classifier.bias": torch.full((5,), torch.nan)}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    task = load_task("token-classification", location)
    with pytest.raises(ValueError, match="not finite"):
        answers(task, [Item("Paris.")])


def test_masks_are_filled_as_by_the_pipeline_alone_and_among_others(filler: str) -> None:
    task = load_task("fill-mask", filler)
    reference: Any = transformers.pipeline("fill-mask", filler, device="cpu")
    mask = reference.tokenizer.mask_token
    written = [
        f"Ada {mask} to London.",
        f"The bridge over the {mask}.",
        f"{mask}, {mask} and Zoë",
        f"a{mask}b",
        CORPUS[1] + mask,
    ]
    together = task.predict(task.encode([Item(text, {"top_k": 3}) for text in written]))
    check_task("fill-mask", task, *together)
    for text, output in zip(written, together, strict=True):
        wanted = reference(text, top_k=3)
        wanted = wanted if isinstance(wanted[0], list) else [wanted]
        found = output.result["masks"]
        for mine, theirs in zip(found, wanted, strict=True):
            assert [(each["token"], each["text"]) for each in mine] == [
                (each["token"], each["token_str"]) for each in theirs
            ]
            assert [each["score"] for each in mine] == pytest.approx([each["score"] for each in theirs], abs=1e-5)
        assert output.confidence == min(each[0]["score"] for each in found)
        [alone] = answers(task, [Item(text, {"top_k": 3})])
        assert [each["score"] for each in alone["masks"][0]] == pytest.approx(
            [each["score"] for each in found[0]], abs=1e-5
        )
    assert len(answers(task, [Item(written[0])])[0]["masks"][0]) == 5
    with pytest.raises(InvalidInput, match=f"must have the mask {re.escape(mask)} 1 to 16 times, not 0"):
        task.encode([Item("Paris.")])
    with pytest.raises(InvalidInput, match="1 to 16 times, not 17"):
        task.encode([Item(f"{mask} " * 17)])
    with pytest.raises(InvalidInput, match=r"the text has \d+ tokens; a model that reads 96 fills no mask in it"):
        task.encode([Item(" ".join(CORPUS) + mask)])


def test_of_control_tokens_in_a_text_only_the_mask_counts(tmp_path: Path) -> None:
    task = load_task("fill-mask", encoder(tmp_path, "bert", "AutoModelForMaskedLM"))
    [encoded] = task.encode([Item("[SEP] a [MASK] [CLS]")])
    row, masks, _ = encoded.data
    assert [row.ids.count(token) for token in (2, 3, 4)] == [1, 1, 1] and len(masks) == 1


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_fill_masks(tmp_path: Path, engine: str) -> None:
    location = encoder(tmp_path, "roberta", "AutoModelForMaskedLM")
    text = [Item("Ada <mask> to London."), Item("<mask>.")]
    torches, others = (answers(load_task("fill-mask", location, engine=each), text) for each in ("torch", engine))
    for one, other in zip(torches, others, strict=True):
        assert [each["score"] for each in one["masks"][0]] == pytest.approx(
            [each["score"] for each in other["masks"][0]], abs=1e-4
        )


def test_without_a_mask_token_nothing_is_filled(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no mask token: fill-mask needs a masked language model"):
        load_task("fill-mask", save(tmp_path, BertForMaskedLM(bert())))
