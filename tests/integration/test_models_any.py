"""Other architectures that the tasks take: FIXTURES with random weights, made here and never shipped.

No trained model of these kinds is small enough to fetch for a test, so what they answer means nothing. What is tested
is that each kind is recognised from its configuration, loads from a standard directory, and that long texts, batches
and options go through.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from inference_worker.tasks.artifacts import open_artifact
from inference_worker.tasks.generative import GenerativeSummarization
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import InvalidInput, Item
from inference_worker.tasks.summary_prompts import make_prompt
from inference_worker.tasks.tokens import TextTokenizer
from inference_worker.tasks.zero_shot import EntailmentZeroShot
from shared.contract.errors import ConfigurationError
from tests.engines import ThreadEngine
from tests.task_outputs import check_task
from tests.tiny_models import WORDS, bert, save

LONG = "The bridge is closed. This is about the bridge. " * 40
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}


def _t5() -> T5ForConditionalGeneration:
    settings: dict[str, Any] = {
        "d_model": 16,
        "d_ff": 16,
        "d_kv": 8,
        "num_layers": 1,
        "num_heads": 2,
        "n_positions": 64,
    }
    settings |= {"pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
    settings["task_specific_params"] = {"summarization": {"prefix": "a b : "}}
    return T5ForConditionalGeneration(T5Config(vocab_size=len(WORDS), **settings))


def _bart() -> BartForConditionalGeneration:
    settings: dict[str, Any] = {"d_model": 16, "max_position_embeddings": 64}
    for side in ("encoder", "decoder"):
        settings |= {f"{side}_layers": 1, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 16}
    settings |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    model = BartForConditionalGeneration(BartConfig(vocab_size=len(WORDS), **settings))
    generation: Any = model.generation_config  # as distilbart's: beams, and limits above what a client may ask for
    generation.update(num_beams=2, min_length=56, max_length=142, no_repeat_ngram_size=3, forced_eos_token_id=3)
    return model


def llama() -> LlamaForCausalLM:
    settings: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    settings |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 256}
    settings |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), **settings))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("make", "limit"), [(_t5, 64), (_bart, 64), (llama, 128)], ids=["t5", "bart", "causal"])
def test_generative_models_are_recognised_and_read_long_texts_whole(tmp_path: Path, make: Any, limit: int) -> None:
    task = load_task("summarization", save(tmp_path, make(), limit))
    assert isinstance(task, GenerativeSummarization)
    items = [Item(LONG, {"max_length": 8}), Item("The bridge is closed."), task.sample]
    encoded = task.encode(items)
    assert encoded[0].rows > 3 and encoded[1].rows == 1
    assert sum(len(part) for part in encoded[0].data[0]) == 40 * 11  # every token is read
    outputs = task.predict(encoded)
    check_task("summarization", task, *outputs)
    assert len(outputs) == 3
    assert all(isinstance(output.result["summary"], str) and output.confidence is None for output in outputs)
    assert len(outputs[0].result["summary"].split()) <= 8


def test_a_generated_summary_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    task = load_task("summarization", save(tmp_path, llama(), 128))
    items = [Item("The bridge is closed."), Item(LONG[:200]), Item("A b a b about the bridge.")]
    together = task.predict(task.encode(items))
    alone = [task.predict(task.encode([item]))[0] for item in items]
    assert together == alone


@pytest.mark.parametrize("system", [True, False], ids=["with system turns", "without"])
def test_the_prompt_is_made_with_the_models_chat_template(tmp_path: Path, system: bool) -> None:
    refuse = (
        "" if system else "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    )
    template = "{% for message in messages %}[CLS] {{ message.content }} [SEP]{% endfor %} this example is"
    location = save(tmp_path, llama(), 256)
    (tmp_path / "chat_template.jinja").write_text(refuse + template, encoding="utf-8")
    tokenizer = TextTokenizer.load(open_artifact(location, "float32"))
    prompt = make_prompt(tokenizer, open_artifact(location, "float32"))
    assert list(prompt.before).count(2) == (
        2 if system else 1
    )  # one [CLS] a turn: control tokens of the template count
    assert list(prompt.after) == [3, 8, 9, 6]
    [text] = tokenizer.tokenize(["[CLS] the bridge"])  # and those of a text do not
    assert 2 not in text.ids


def test_an_inference_classifier_does_zero_shot(tmp_path: Path) -> None:
    model = BertForSequenceClassification(bert(id2label=NLI, label2id={name: index for index, name in NLI.items()}))
    task = load_task("zero-shot-classification", save(tmp_path, model))
    assert isinstance(task, EntailmentZeroShot)
    items = [Item(LONG, {"labels": ["a", "b"]}), Item("The bridge.", {"labels": ["bridge", "a", "closed"]})]
    encoded = task.encode(items)
    assert encoded[0].rows > 2 and encoded[1].rows == 3
    assert (
        encoded[1].data[1][0][0].types == [0] * 5 + [1] * 6
    )  # [CLS] the bridge . [SEP] | this example is bridge . [SEP]
    outputs = task.predict(encoded)
    assert [set(output.result["scores"]) for output in outputs] == [{"a", "b"}, {"bridge", "a", "closed"}]
    assert sum(outputs[0].result["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_a_label_that_leaves_no_room_for_the_text_is_an_error(tmp_path: Path) -> None:
    model = BertForSequenceClassification(bert(id2label=NLI, label2id={name: index for index, name in NLI.items()}))
    task = load_task("zero-shot-classification", save(tmp_path, model))
    with pytest.raises(InvalidInput, match="too long"):
        task.encode([Item("The bridge.", {"labels": ["a " * 45, "b"]})])


def test_a_classifier_of_other_labels_does_no_zero_shot(tmp_path: Path) -> None:
    model = BertForSequenceClassification(bert(id2label={0: "NEGATIVE", 1: "POSITIVE"}))
    with pytest.raises(ConfigurationError, match="entailment"):
        load_task("zero-shot-classification", save(tmp_path, model))


def test_independent_labels_are_scored_each_by_itself(tmp_path: Path) -> None:
    model = BertForSequenceClassification(bert(num_labels=3, problem_type="multi_label_classification"))
    with torch.no_grad():
        model.classifier.bias.fill_(4.0)
    task = load_task("text-classification", save(tmp_path, model))
    [output] = task.predict(task.encode([Item("The bridge is closed.")]))
    assert sum(output.result["scores"].values()) > 2.5
    assert set(ThreadEngine(task).labels) == set(output.result["scores"])  # what is counted by label


def test_an_encoder_without_a_head_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="lacks trained weights"):
        load_task("text-classification", save(tmp_path, BertModel(bert())))


def test_an_answer_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    model = BertForSequenceClassification(bert(num_labels=2))
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    task = load_task("text-classification", save(tmp_path, model))
    with pytest.raises(ValueError, match="not finite"):
        task.predict(task.encode([Item("The bridge is closed.")]))


@pytest.mark.parametrize("mode", ["cls", "max"])
def test_pooling_is_what_the_directory_says(tmp_path: Path, mode: str) -> None:
    location = save(tmp_path, BertModel(bert()))
    modes = {f"pooling_mode_{name}": name.startswith(mode) for name in ("cls_token", "mean_tokens", "max_tokens")}
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(modes), encoding="utf-8")
    text = [Item("The bridge is closed.")]
    pooled = load_task("feature-extraction", location)
    (tmp_path / "1_Pooling" / "config.json").unlink()
    mean = load_task("feature-extraction", location)
    assert pooled.predict(pooled.encode(text)) != mean.predict(mean.encode(text))


def test_an_encoder_decoder_has_no_embeddings(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="encoder-decoder"):
        load_task("feature-extraction", save(tmp_path, _bart()))


def test_a_model_with_too_little_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no room"):
        load_task("summarization", save(tmp_path, _t5(), limit=16))
