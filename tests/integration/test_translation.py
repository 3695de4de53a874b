"""Translation on several architectures (FIXTURES), against what transformers' pipeline does.

Version 5 has no such pipeline any more. What that of version 4 did is three lines, and here they are: the tokenizer's
own `_build_translation_inputs` or a prefix, `generate`, `decode`. (Seen with 4.57.6: mBART, mBART-50 and NLLB agree.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from inference_worker.tasks.languages import Direction
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import InvalidInput, Item, Task
from shared.contract.errors import ConfigurationError
from tests.task_outputs import check_task
from tests.tiny_families import CORPUS, LIMIT, TRANSLATORS, encoder, texts, translator

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

BEAMS = {"num_beams": 2, "max_new_tokens": 8, "min_new_tokens": 4}
LONG = "\n\n".join(CORPUS * 2)


@pytest.fixture(scope="module", params=TRANSLATORS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def location(family: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return translator(tmp_path_factory.mktemp(family), family, **BEAMS)


@pytest.fixture(scope="module")
def task(location: str) -> Task:
    return load_task("translation", location)


def translations(task: Task, items: list[Item]) -> list[str]:
    outputs = task.predict(task.encode(items))
    assert all(output.confidence is None for output in outputs)
    check_task("translation", task, *outputs)
    return [str(output.result["translation"]) for output in outputs]


def reference(tokenizer: Any, model: Any, text: str, options: dict[str, str], **settings: Any) -> str:
    """What version 4's pipeline makes of a text."""
    if hasattr(tokenizer, "_build_translation_inputs"):
        inputs = tokenizer._build_translation_inputs(text, return_tensors="pt", **options)
    else:
        inputs = tokenizer(text, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    [ids] = model.generate(**inputs, **settings)
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def test_translations_are_those_of_the_pipeline_alone_and_among_others(task: Task, location: str, family: str) -> None:
    options, prefix = TRANSLATORS[family][3], ""
    if family == "t5":
        prefix, settings = "translate English to German: ", {"num_beams": 3, "max_new_tokens": 13}
    else:
        settings = BEAMS
    items = [Item(text, options) for text in texts()[:5]]
    together = translations(task, items)
    assert len(set(together)) > 2
    tokenizer: Any = AutoTokenizer.from_pretrained(location)
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(location)
    for item, translation in zip(items[:3], together, strict=False):
        assert translation == reference(tokenizer, model, prefix + item.text, options, **settings)
    assert translations(task, items[1:2]) == together[1:2]


def test_a_long_text_is_translated_in_parts_that_fit_and_what_stood_between_them_stays(task: Task, family: str) -> None:
    options = TRANSLATORS[family][3]
    [encoded] = task.encode([Item(LONG, options)])
    parts, between = encoded.data.parts, encoded.data.between
    assert len(parts) == encoded.rows > 4 and all(len(ids) <= LIMIT for ids in parts)
    assert encoded.tokens == max(map(len, parts)) + (13 if family == "t5" else 8)
    [whole] = translations(task, [Item(LONG, options)])
    assert whole.count("\n\n") == between.count("\n\n") > 2
    [again] = translations(task, [Item("  " + LONG, options)])
    assert again == whole


def test_parts_end_with_sentences_and_a_text_without_any_is_cut_between_words(task: Task, family: str) -> None:
    words = [f"word{at}" for at in range(150)]
    for text, ends in ((" ".join(CORPUS), ".?"), (" ".join(words), "0123456789"), ("x" * 500, "x")):
        spans = list(task._parts(Direction(), text))  # type: ignore[attr-defined]
        assert len(spans) > 1 and all(text[end - 1] in ends for _, end in spans)
        assert "".join(text[start:end] for start, end in spans) == "".join(text.split()) or " " in text
        assert " ".join(text[start:end] for start, end in spans).split() == text.split() or " " not in text


@pytest.mark.parametrize("family", ["t5", "mbart", "mbart50", "nllb", "m2m100"])
def test_control_tokens_in_a_text_are_text(tmp_path: Path, family: str) -> None:
    task: Any = load_task("translation", translator(tmp_path, family))
    options = TRANSLATORS[family][3]
    [plain, written] = task.encode([Item("a b", options), Item("a </s> b", options)])
    end = task._tokenizer.eos_token_id
    assert plain.data.parts[0].count(end) == written.data.parts[0].count(end) == 1


WRONG = {
    "t5": ({"tgt_lang": "es"}, "options.src_lang and tgt_lang must name one of the model's pairs: en to de, en to fr"),
    "mbart": ({"src_lang": "en_XX"}, "options.tgt_lang is one of .*de_DE.* and must be given"),
    "mbart50": ({"src_lang": "german", "tgt_lang": "fr_XX"}, "options.src_lang is one of .*, not 'german'"),
    "nllb": (
        {"src_lang": "eng_Latn", "tgt_lang": "en"},
        r"options.tgt_lang is one of ace_Arab.* and \d+ more, not 'en'",
    ),
    "m2m100": ({}, "options.tgt_lang is one of .*, and must be given"),
    "marian": ({"src_lang": "eng"}, "options.src_lang: the model has one source language: leave it out"),
}


def test_languages_that_a_model_does_not_know_are_told(task: Task, family: str) -> None:
    options, told = WRONG[family]
    with pytest.raises(InvalidInput, match=told):
        task.encode([Item("Paris.", options)])


def test_one_of_several_targets_is_named_by_its_mark(tmp_path: Path) -> None:
    task = load_task("translation", translator(tmp_path, "marian"))
    named, marked = task.encode([Item("Paris.", {"tgt_lang": "deu"}), Item(">>deu<< Paris.")])
    assert named.data.parts == marked.data.parts
    with pytest.raises(InvalidInput, match="options.tgt_lang is one of fra, deu, not 'spa'"):
        task.encode([Item("Paris.", {"tgt_lang": "spa"})])


def test_without_settings_of_the_model_there_are_four_beams_and_256_tokens(tmp_path: Path) -> None:
    task: Any = load_task("translation", translator(tmp_path, "mbart"))
    settings = task._settings(Direction())
    assert (settings.num_beams, settings.max_new_tokens, settings.do_sample) == (4, 256, False)


def test_settings_that_change_the_shape_of_an_answer_do_not_count(tmp_path: Path) -> None:
    odd = {
        "return_dict_in_generate": True,
        "num_return_sequences": 2,
        "do_sample": True,
        "max_length": 9,
        "num_beams": 2,
    }
    task = load_task("translation", translator(tmp_path, "mbart", **odd))
    assert len(translations(task, [task.sample])) == 1
    assert task._most(Direction()) == 8  # type: ignore[attr-defined]


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no encoder-decoder: translation needs one"):
        load_task("translation", encoder(tmp_path, "bert", "AutoModelForMaskedLM"))
