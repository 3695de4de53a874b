"""Tokenizers as people have them: sentencepiece alone, none at all, another model's, without a pad."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers

from inference_worker.tasks.artifacts import open_artifact
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item
from inference_worker.tasks.tokenizer_files import control_ids
from inference_worker.tasks.tokens import TextTokenizer
from shared.contract.errors import ConfigurationError
from tests.hub_models import (
    GPT2,
    LLAMA,
    SEQ2SEQ,
    T5,
    change_json,
    config,
    gpt2_tokenizer,
    made,
    sentencepiece_file,
    write,
)
from tests.tiny_families import ENCODERS, LIMIT, SIZES, encoder, texts

CLASSIFIER = "AutoModelForSequenceClassification"
# family of the pieces, configuration, file, sizes
SENTENCEPIECE: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "xlm-roberta": ("xlm-roberta", "XLMRobertaConfig", "sentencepiece.bpe.model", SIZES),
    "camembert": ("camembert", "CamembertConfig", "sentencepiece.bpe.model", SIZES),
    "albert": ("albert", "AlbertConfig", "spiece.model", {**SIZES, "embedding_size": 16}),
    "deberta-v2": ("deberta-v2", "DebertaV2Config", "spm.model", SIZES),
    "llama": ("llama", "LlamaConfig", "tokenizer.model", LLAMA),
    "gemma": ("llama", "GemmaConfig", "tokenizer.model", LLAMA),
    "xlnet": (
        "xlnet",
        "XLNetConfig",
        "spiece.model",
        {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 32, "initializer_range": 0.3},
    ),
    "t5": ("t5", "T5Config", "spiece.model", {**T5, "decoder_start_token_id": 0}),
    "mbart": ("xlm-roberta", "MBartConfig", "sentencepiece.bpe.model", SEQ2SEQ),
}


def scores(task: Any, items: list[Item]) -> list[dict[str, float]]:
    return [dict(output.result["scores"]) for output in task.predict(task.encode(items))]


def by_pipeline(location: str, texts: list[Any], **settings: Any) -> list[dict[str, float]]:
    """What transformers' pipeline answers to each text by itself."""
    pipeline: Any = transformers.pipeline
    asked = pipeline("text-classification", model=location, top_k=None, **settings)
    answers = [asked(text) for text in texts]
    flat = [answer[0] if isinstance(answer[0], list) else answer for answer in answers]
    return [{each["label"]: each["score"] for each in answer} for answer in flat]


def same(given: list[dict[str, float]], wanted: list[dict[str, float]], apart: float = 1e-5) -> bool:
    return all(one == pytest.approx(other, abs=apart) for one, other in zip(given, wanted, strict=True))


@pytest.mark.parametrize("family", SENTENCEPIECE)
def test_a_sentencepiece_file_is_tokenizer_enough(tmp_path: Path, family: str) -> None:
    pieces, config, file, sizes = SENTENCEPIECE[family]
    sentencepiece_file(tmp_path, pieces, file)
    getattr(transformers, config)().save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    known = max(tokenizer.get_vocab().values()) + 1
    model = made(CLASSIFIER, getattr(transformers, config)(vocab_size=known, num_labels=3, **special, **sizes))
    location = write(tmp_path, model)
    task: Any = load_task("text-classification", location)
    items = [Item(text) for text in texts()]
    assert same(scores(task, items), by_pipeline(location, texts()))
    assert same([scores(task, [item])[0] for item in items], scores(task, items))
    reader = task._tokenizer
    named = [name for name in tokenizer.all_special_tokens if name != tokenizer.unk_token]
    read = {token for text in reader.tokenize([f"it said {name} here" for name in named]) for token in text.ids}
    assert not read & (control_ids(tokenizer) - {tokenizer.unk_token_id})


def test_without_tokenizer_files_nothing_is_made_up(tmp_path: Path) -> None:
    for family in ("bert", "roberta"):
        location = encoder(tmp_path / family, family, CLASSIFIER)
        tokenizer = transformers.AutoTokenizer.from_pretrained(location)
        for name in ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"):
            (tmp_path / family / name).unlink(missing_ok=True)
        with pytest.raises(ConfigurationError, match="no tokenizer files .*: copy them from the model"):
            load_task("text-classification", location)
        tokenizer.save_pretrained(tmp_path / family / "tokenizer")
        with pytest.raises(ConfigurationError, match="move them up from its folder tokenizer"):
            load_task("text-classification", location)


@pytest.mark.parametrize("size", [100, 400])
def test_another_models_tokenizer_is_refused(tmp_path: Path, size: int) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER, vocab_size=size)
    with pytest.raises(ConfigurationError, match=rf"knows \d+ tokens and the model {size}"):
        load_task("text-classification", location)


def test_embeddings_may_be_padded(tmp_path: Path) -> None:
    known = len(ENCODERS["bert"][0]())
    assert load_task("text-classification", encoder(tmp_path, "bert", CLASSIFIER, vocab_size=-(-known // 64) * 64))


@pytest.mark.parametrize("config", ["GPT2Config", "LlamaConfig"])
def test_a_language_model_without_a_pad_loses_no_end_of_a_text(tmp_path: Path, config: str) -> None:
    sizes = {**GPT2, "bos_token_id": None, "eos_token_id": None} if config == "GPT2Config" else LLAMA
    tokenizer = gpt2_tokenizer()
    settings = {**sizes, "vocab_size": len(tokenizer), "num_labels": 3, "pad_token_id": None}
    location = write(tmp_path, made(CLASSIFIER, getattr(transformers, config)(**settings)), tokenizer)
    written = [*texts(), "the end!", "the end!!", "!", "the end"]
    assert tokenizer.convert_tokens_to_ids("!") == 0
    task: Any = load_task("text-classification", location)
    answers = scores(task, [Item(text) for text in written])
    assert same(answers, by_pipeline(location, written))
    assert answers[-1] != answers[-4]
    assert task._tokenizer.pad_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")


def test_without_any_control_token_rows_are_not_filled(tmp_path: Path) -> None:
    tokenizer = gpt2_tokenizer()
    backend = tokenizer.backend_tokenizer
    fast: Any = transformers.PreTrainedTokenizerFast
    bare = fast(tokenizer_object=type(backend)(backend.model), model_max_length=LIMIT)
    bare.backend_tokenizer.pre_tokenizer = backend.pre_tokenizer
    settings: dict[str, Any] = {**LLAMA, "vocab_size": len(bare), "num_labels": 3, "pad_token_id": None}
    location = write(tmp_path, made(CLASSIFIER, config("LlamaConfig", **settings)), bare)
    task: Any = load_task("text-classification", location)
    assert task._tokenizer.pad_id is None
    assert same(scores(task, [Item(text) for text in texts()]), by_pipeline(location, texts()))


@pytest.mark.parametrize("config", ["Data2VecTextConfig", "LukeConfig"])
def test_positions_counted_from_behind_the_pad_are_found_out(
    tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inference_worker.tasks import tokens

    monkeypatch.setattr(tokens, "_OFFSET_POSITIONS", set())  # as for families that no list has
    tokenizer = ENCODERS["roberta"][0]()
    tokenizer.model_max_length = int(1e30)
    settings = {**SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": LIMIT, "pad_token_id": 1}
    settings |= {"entity_vocab_size": 10, "entity_emb_size": 8}
    location = write(tmp_path, made(CLASSIFIER, getattr(transformers, config)(**settings)), tokenizer)
    task: Any = load_task("text-classification", location)
    assert task._tokenizer.limit == LIMIT - 2
    assert scores(task, [Item("the bridge " * 200)])


def test_a_model_that_ends_before_its_configuration_says_is_refused(tmp_path: Path) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER)
    weights = transformers.AutoModelForSequenceClassification.from_pretrained(location)
    table = weights.bert.embeddings
    table.position_embeddings.weight.data = table.position_embeddings.weight.data[:40]
    from inference_worker.tasks.forward import Forward
    from inference_worker.tasks.torch_models import TorchEncoder

    model = TorchEncoder(weights)
    with pytest.raises(ConfigurationError, match="fails on a row of 96 tokens.*model_max_length"):
        Forward(model, TextTokenizer.load(open_artifact(location, "float32")), 512, lambda output, mask: output.logits)


def test_a_tokenizer_that_names_what_the_model_does_not_take(tmp_path: Path) -> None:
    tokenizer = ENCODERS["bert"][0]()
    settings = {"dim": 32, "hidden_dim": 32, "n_layers": 2, "n_heads": 2, "vocab_size": len(tokenizer)}
    location = write(tmp_path, made(CLASSIFIER, config("DistilBertConfig", **settings)), tokenizer)
    change_json(tmp_path / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    assert scores(load_task("text-classification", location), [Item("the bridge")])


def test_a_model_that_mixes_padding_in_computes_only_texts_of_one_length_together(tmp_path: Path) -> None:
    tokenizer = ENCODERS["bert"][0]()
    settings: dict[str, Any] = {**SIZES, "vocab_size": len(tokenizer), "num_labels": 3, "pad_token_id": 0}
    location = write(tmp_path, made(CLASSIFIER, config("FNetConfig", **settings)), tokenizer)
    task = load_task("text-classification", location)
    items = [Item(text) for text in [*texts(), *reversed(texts())]]
    assert same(scores(task, items), by_pipeline(location, [item.text for item in items]))


def test_tokenizer_files_of_two_kinds_beside_each_other(tmp_path: Path) -> None:
    location = encoder(tmp_path, "bert", CLASSIFIER, num_labels=3)
    shutil.copy(Path(location) / "tokenizer.json", tmp_path / "kept.json")
    wanted = by_pipeline(location, texts())
    vocabulary = transformers.AutoTokenizer.from_pretrained(location).get_vocab()
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)), encoding="utf-8")
    assert same(scores(load_task("text-classification", location), [Item(text) for text in texts()]), wanted)
