"""Classifiers as people have them, against transformers' pipelines: numbers, pairs, labels named alike, zero-shot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import InvalidInput, Item
from shared.contract.errors import ConfigurationError
from tests.hub_models import GPT2, LLAMA, SEQ2SEQ, change_json, config, gpt2_tokenizer, made, write
from tests.integration.test_hub_tokenizers import by_pipeline, same, scores
from tests.tiny_families import ENCODERS, encoder, texts

CLASSIFIER = "AutoModelForSequenceClassification"
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
NLI_FIRST = {0: "ENTAILMENT", 1: "NEUTRAL", 2: "CONTRADICTION"}
NLI_TWO = {0: "entailment", 1: "not_entailment"}
LABELS = ["town hall", "river", "Paris"]


def named(labels: dict[int, str]) -> dict[str, Any]:
    return {"id2label": labels, "label2id": {name: index for index, name in labels.items()}}


def decoder(directory: Path, **settings: Any) -> str:
    tokenizer = gpt2_tokenizer()
    made_of = config("LlamaConfig", **{**LLAMA, "vocab_size": len(tokenizer), "pad_token_id": None, **settings})
    return write(directory, made(CLASSIFIER, made_of), tokenizer)


def bart(directory: Path, **settings: Any) -> str:
    tokenizer = ENCODERS["roberta"][0]()
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    made_of = config("BartConfig", **{**SEQ2SEQ, **ids, "vocab_size": len(tokenizer), **settings})
    return write(directory, made(CLASSIFIER, made_of), tokenizer)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_labels": 1, "problem_type": "regression"},
        {"num_labels": 3, "problem_type": "regression"},
        {"num_labels": 1},
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        {"num_labels": 2, "problem_type": "single_label_classification"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
def test_scores_are_what_the_head_was_trained_for(tmp_path: Path, settings: dict[str, Any], engine: str) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER, **settings)
    task = load_task("text-classification", location, engine=engine)
    items = [Item(text) for text in texts()]
    outputs = task.predict(task.encode(items))
    assert same([dict(each.result["scores"]) for each in outputs], by_pipeline(location, texts()))
    assert same([scores(task, [item])[0] for item in items], scores(task, items))
    numbers = settings.get("problem_type") == "regression"
    assert all((output.confidence is None) == numbers for output in outputs)
    if numbers:
        assert min(min(output.result["scores"].values()) for output in outputs) < 0


@pytest.mark.parametrize("make", [lambda path: encoder(path, "bert", CLASSIFIER, num_labels=3), bart, decoder])
def test_pairs_of_texts_are_judged_as_in_the_pipeline(tmp_path: Path, make: Any) -> None:
    location = make(tmp_path)
    task = load_task("text-classification", location)
    pairs = list(zip(texts(), reversed(texts()), strict=True))
    items = [Item(text, {"text_pair": other}) for text, other in pairs]
    wanted = by_pipeline(location, [{"text": text, "text_pair": other} for text, other in pairs])
    assert same(scores(task, [*items, Item("alone")])[:-1], wanted)
    with pytest.raises(InvalidInput, match="text_pair is too long"):
        task.encode([Item("a", {"text_pair": "the bridge " * 200})])


def test_labels_named_alike_are_all_kept(tmp_path: Path) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER, num_labels=4)
    change_json(tmp_path / "config.json", id2label={0: "other", 1: "sport", 2: "other", 3: "other (2)"}, label2id=None)
    task: Any = load_task("text-classification", location)
    assert task.labels == ["other", "sport", "other (2)", "other (2) (2)"]
    [answer] = scores(task, [Item("the bridge")])
    assert len(answer) == 4 and sum(answer.values()) == pytest.approx(1, abs=1e-5)


# --- zero-shot -------------------------------------------------------------------------------------------------------


def by_zero_shot(location: str, text: str, labels: list[str], **options: Any) -> dict[str, float]:
    pipeline: Any = transformers.pipeline
    answer = pipeline("zero-shot-classification", model=location)(text, labels, **options)
    return dict(zip(answer["labels"], answer["scores"], strict=True))


@pytest.mark.parametrize(
    ("make", "labels"),
    [
        (lambda path, **settings: encoder(path, "roberta", CLASSIFIER, **settings), NLI),
        (lambda path, **settings: encoder(path, "bert", CLASSIFIER, **settings), NLI_TWO),
        (bart, NLI_FIRST),
        (decoder, NLI),
    ],
    ids=["roberta", "bert of two", "bart", "language model without a pad"],
)
@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
def test_zero_shot_options_do_what_they_do_in_the_pipeline(tmp_path: Path, make: Any, labels: Any, engine: str) -> None:
    location = make(tmp_path, **named(labels))
    if engine != "torch" and make in (bart, decoder):
        pytest.skip("one encoder of each engine is enough")
    task = load_task("zero-shot-classification", location, engine=engine)
    template = "It is about {}!"
    kinds: list[tuple[list[str], dict[str, Any]]] = [
        (LABELS, {}),
        (LABELS, {"multi_label": True}),
        (LABELS[:1], {}),
        (LABELS, {"hypothesis_template": template}),
        (LABELS, {"hypothesis_template": template, "multi_label": True}),
    ]
    items = [Item(text, {"labels": wanted, **options}) for text in texts()[2:4] for wanted, options in kinds]
    wanted = [by_zero_shot(location, item.text, **_asked(item)) for item in items]
    assert same(scores(task, items), wanted)
    assert same([scores(task, [item])[0] for item in items], scores(task, items))


def _asked(item: Item) -> dict[str, Any]:
    return {**{key: value for key, value in item.options.items() if key != "labels"}, "labels": item.options["labels"]}


def test_without_architectures_the_weights_say_what_a_model_is(tmp_path: Path) -> None:
    location = encoder(tmp_path / "nli", "bert", CLASSIFIER, **named(NLI))
    item = Item(texts()[3], {"labels": LABELS})
    wanted = scores(load_task("zero-shot-classification", location), [item])
    change_json(tmp_path / "nli" / "config.json", architectures=None)
    assert same(scores(load_task("zero-shot-classification", location), [item]), wanted)
    plain = encoder(tmp_path / "plain", "bert", "AutoModel")
    similar = scores(load_task("zero-shot-classification", plain), [item])
    change_json(tmp_path / "plain" / "config.json", architectures=None)
    assert same(scores(load_task("zero-shot-classification", plain), [item]), similar)


def test_a_head_for_other_labels_is_refused_whatever_the_configuration_leaves_out(tmp_path: Path) -> None:
    location = encoder(tmp_path, "roberta", CLASSIFIER, num_labels=3)
    change_json(tmp_path / "config.json", architectures=None)
    with pytest.raises(ConfigurationError, match="needs one with the label 'entailment'"):
        load_task("zero-shot-classification", location)


def test_a_gpt2_head_without_pad_is_one_loader_for_both_tasks(tmp_path: Path) -> None:
    tokenizer = gpt2_tokenizer()
    made_of = config("GPT2Config", **{**GPT2, "vocab_size": len(tokenizer), "pad_token_id": None, **named(NLI)})
    location = write(tmp_path, made(CLASSIFIER, made_of), tokenizer)
    item = Item("the end!", {"labels": LABELS})
    assert same(
        scores(load_task("zero-shot-classification", location), [item]), [by_zero_shot(location, "the end!", LABELS)]
    )
    assert same(scores(load_task("text-classification", location), [item]), by_pipeline(location, ["the end!"]))
