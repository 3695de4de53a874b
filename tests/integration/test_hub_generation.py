"""Summaries with the model's own settings, each by its own limits; chat templates; what changes `generate`'s answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import InvalidInput, Item
from shared.contract.errors import ConfigurationError
from tests.hub_models import LLAMA, SEQ2SEQ, change_json, config, gpt2_tokenizer, made, write
from tests.tiny_families import CORPUS, ENCODERS

OWN = {"max_length": 24, "min_length": 6, "num_beams": 3, "length_penalty": 2.0, "no_repeat_ngram_size": 2}


def bart(directory: Path, **generation: Any) -> str:
    tokenizer = ENCODERS["roberta"][0]()
    ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    model = made("AutoModelForSeq2SeqLM", config("BartConfig", **{**SEQ2SEQ, **ids, "vocab_size": len(tokenizer)}))
    model.generation_config.update(**generation)
    return write(directory, model, tokenizer)


def llama(directory: Path, template: Any = None, **generation: Any) -> str:
    tokenizer = gpt2_tokenizer(pad_token="<|endoftext|>")
    tokenizer.chat_template = template
    tokenizer.model_max_length = 1024
    settings = {**LLAMA, "vocab_size": len(tokenizer), "max_position_embeddings": 1024, "bos_token_id": None}
    model = made("AutoModelForCausalLM", config("LlamaConfig", **settings, eos_token_id=tokenizer.eos_token_id))
    model.generation_config.update(**generation)
    return write(directory, model, tokenizer)


def summaries(task: Any, items: list[Item]) -> list[str]:
    return [str(output.result["summary"]) for output in task.predict(task.encode(items))]


def generated(location: str, text: str, **settings: Any) -> str:
    """What `generate` writes for a text alone, as transformers' pipeline of version 4 asks for it."""
    from inference_worker.tasks.generative import tidy

    tokenizer = transformers.AutoTokenizer.from_pretrained(location)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(location)
    with torch.inference_mode():
        ids = model.generate(**tokenizer(text, return_tensors="pt"), do_sample=False, **settings)
    return tidy(str(tokenizer.decode(ids[0], skip_special_tokens=True)))


@pytest.mark.parametrize("where", ["generation_config", "task_specific_params", "nowhere"])
def test_a_models_own_settings_are_the_default(tmp_path: Path, where: str) -> None:
    location = bart(tmp_path, **(OWN if where == "generation_config" else {}))
    if where == "task_specific_params":
        change_json(tmp_path / "config.json", task_specific_params={"summarization": OWN})
    task: Any = load_task("summarization", location)
    if where == "nowhere":
        assert task._settings(task._length({})).num_beams == 4 and task._length({}).most == 256
        return
    wanted = [generated(location, text, **OWN) for text in CORPUS[:3]]
    assert summaries(task, [Item(text) for text in CORPUS[:3]]) == wanted


def test_a_request_changes_them_and_each_text_has_its_own_limits(tmp_path: Path) -> None:
    location = bart(tmp_path, **OWN)
    task = load_task("summarization", location)
    options: list[dict[str, Any]] = [{}, {"max_length": 9}, {"min_length": 20}, {"max_length": 16, "min_length": 12}]
    items = [Item(text, each) for text in CORPUS[:3] for each in options]
    together = summaries(task, items)
    assert together == [summaries(task, [item])[0] for item in items]
    given = [{**OWN, **each} for each in options]
    given[1]["min_length"] = 6
    assert together == [generated(location, text, **each) for text in CORPUS[:3] for each in given]
    with pytest.raises(InvalidInput, match="options.min_length: 12 is more than max_length, 9"):
        task.encode([Item("a", {"max_length": 9, "min_length": 12})])


def test_settings_that_change_the_form_of_the_answer_do_no_harm(tmp_path: Path) -> None:
    plain = summaries(load_task("summarization", bart(tmp_path / "plain", **OWN)), [Item(CORPUS[0])])
    changed = {"return_dict_in_generate": True, "num_return_sequences": 2, "output_scores": True}
    location = bart(tmp_path / "changed", **OWN)
    change_json(tmp_path / "changed" / "generation_config.json", **changed)
    assert summaries(load_task("summarization", location), [Item(CORPUS[0])]) == plain
    for name in ("plain", "changed"):
        llama(tmp_path / f"causal {name}", **({"num_beams": 2} if name == "plain" else {"num_beams": 2}))
    change_json(tmp_path / "causal changed" / "generation_config.json", **changed)
    one, other = (
        summaries(load_task("summarization", str(tmp_path / f"causal {name}")), [Item(CORPUS[0])])
        for name in ("plain", "changed")
    )
    assert one == other


TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
SWITCH = (
    "{% if add_generation_prompt %}<assistant>"
    "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}{% endif %}"
)
ALWAYS = "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"


@pytest.mark.parametrize(
    ("template", "ends"),
    [
        (TURNS + SWITCH, "<assistant>"),
        ({"tool_use": "no", "default": TURNS + SWITCH}, "<assistant>"),
        ({"only": TURNS + SWITCH}, "<assistant>"),
        (TURNS + ALWAYS, "<think>\n\n</think>\n\n"),
    ],
    ids=["a switch", "templates by name", "one by another name", "always"],
)
def test_a_chat_model_does_not_think_unless_it_is_asked_to(tmp_path: Path, template: Any, ends: str) -> None:
    task: Any = load_task("summarization", llama(tmp_path, template))
    prompts = {thinking: task._tokenizer.raw.decode(task._prompts[thinking].after) for thinking in (False, True)}
    assert prompts[False].endswith(ends)
    assert prompts[True].rstrip().endswith("<think>") and "</think>" not in prompts[True]
    assert summaries(task, [Item(CORPUS[0], {"max_length": 12}), Item(CORPUS[1])])[0]


def test_a_thought_is_no_part_of_the_summary() -> None:
    from inference_worker.tasks.chats import without_thought

    assert without_thought("<think>What is it about?</think>A bridge.") == "A bridge."
    assert without_thought("A bridge.") == "A bridge."
    with pytest.raises(InvalidInput, match="still thinking .* raise options.max_length"):
        without_thought("<think>What is it")


def test_language_models_are_known_without_their_architecture(tmp_path: Path) -> None:
    location = llama(tmp_path)
    wanted = summaries(load_task("summarization", location), [Item(CORPUS[0])])
    change_json(tmp_path / "config.json", architectures=None)
    assert summaries(load_task("summarization", location), [Item(CORPUS[0])]) == wanted


def test_a_multimodal_model_is_refused_in_words(tmp_path: Path) -> None:
    location = llama(tmp_path)
    change_json(tmp_path / "config.json", architectures=["LlavaForConditionalGeneration"], model_type="clip")
    with pytest.raises(ConfigurationError, match="cannot load .* as a model ForCausalLM|no tokenizer|knows"):
        load_task("summarization", location)
