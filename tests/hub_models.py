"""FIXTURES as people have models: tokenizers saved as sentencepiece only, language models without a pad token, …

As `tiny_families`: two layers of 32 with random weights, whose answers mean nothing but differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers

from tests.tiny_families import CORPUS, LIMIT, SIZES, bytes_bpe

torch.set_num_threads(1)  # of tiny models, a second thread costs more than it does

LLAMA: dict[str, Any] = {**SIZES, "num_key_value_heads": 1, "max_position_embeddings": LIMIT, "head_dim": 16}
GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": LIMIT, "initializer_range": 0.3}
SEQ2SEQ: dict[str, Any] = {"d_model": 32, "max_position_embeddings": LIMIT, "init_std": 0.3}
for _side in ("encoder", "decoder"):
    SEQ2SEQ |= {f"{_side}_layers": 2, f"{_side}_attention_heads": 2, f"{_side}_ffn_dim": 32}
T5: dict[str, Any] = {"d_model": 32, "d_ff": 32, "d_kv": 16, "num_layers": 2, "num_heads": 2, "n_positions": LIMIT}
# What each family's own sentencepiece model has at its beginning.
_PIECES: dict[str, dict[str, Any]] = {
    "xlm-roberta": {"unk_id": 0, "bos_id": 1, "eos_id": 2},
    "camembert": {"unk_id": 0, "bos_id": 1, "eos_id": 2},
    "t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "pegasus": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "albert": {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"},
    "deberta-v2": {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
    "llama": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "model_type": "bpe", "byte_fallback": True},
    "xlnet": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "control_symbols": "<cls>,<sep>,<pad>,<mask>,<eod>"},
}
_DEBERTA = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
_PIECES["deberta-v2"] |= _DEBERTA


def sentencepiece_file(directory: Path, family: str, name: str) -> None:
    """Train a sentencepiece model of a family in milliseconds."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {"model_type": "unigram", **_PIECES[family]}
    with (directory / name).open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS),
            model_writer=file,
            vocab_size=330 if settings.get("byte_fallback") else 120,
            hard_vocab_limit=False,
            minloglevel=2,
            **settings,
        )


def gpt2_tokenizer(**special: str) -> Any:
    """Byte pairs whose only control token is `<|endoftext|>`, which is no pad; token 0 is `!`, as in GPT-2."""
    made = bytes_bpe()
    vocabulary = {**made["vocab"], "<|endoftext|>": len(made["vocab"])}
    return transformers.GPT2Tokenizer(vocab=vocabulary, merges=made["merges"], model_max_length=LIMIT, **special)


def write(directory: Path, model: Any, tokenizer: Any = None) -> str:
    """Write a model, and its tokenizer if there is one."""
    model.save_pretrained(directory)
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)
    return str(directory)


def config(name: str, **settings: Any) -> Any:
    """A configuration of one of transformers' classes."""
    return getattr(transformers, name)(**settings)


def made(kind: str, of: Any) -> Any:
    """A model of one of transformers' Auto classes with random weights, always the same."""
    torch.manual_seed(0)
    return getattr(transformers, kind).from_config(of).eval()


def change_json(path: Path, **changes: Any) -> None:
    """Change a JSON file's keys; None takes one away."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content = {key: value for key, value in {**content, **changes}.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
