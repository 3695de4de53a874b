"""FIXTURES of many architectures: two layers of 32, random weights, and a tokenizer by each family's own algorithm.

Made in milliseconds and never shipped: what they answer means nothing, but any two texts get different answers, so
that it can be compared with what transformers' own code makes of the same directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = (
    "Ada Lovelace wrote to Charles Babbage in London, and Mary Somerville read what the two of them had written.",
    "The bridge over the river was closed on Monday after an inspection; engineers had found cracks in two beams.",
    "Where does the committee meet? It meets in the old town hall of Würzburg, at half past nine in the morning.",
    "Repairs take about six weeks. Until then traffic is led over the old road to the north, the council said.",
    "What is the capital of France? Paris is the capital of France, and it lies on the Seine.",
)
LIMIT = 96  # tokens that the encoders read at once
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.3,
}


def texts() -> list[str]:
    """Texts of mixed lengths that fit, with accents, runs of spaces, line breaks and signs that no corpus has."""
    odd = ["Paris.", "  Ada   Lovelace\nwrote to Zoë & 東京, e-mail: x_y@z.org!", "WÜRZBURG lies-north of (the) river…"]
    return [*odd, *CORPUS, CORPUS[1][:40]]


def wordpiece() -> dict[str, int]:
    """A vocabulary as of BERT."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    return made.get_vocab()


def bytes_bpe(*special: str) -> dict[str, Any]:
    """Vocabulary and merges as of RoBERTa and GPT-2."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[*special], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    model = json.loads(made.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(merge) for merge in model["merges"]]}


def unigram(*special: str, unknown: str) -> list[tuple[str, float]]:
    """A vocabulary as of XLM-R and T5, the control tokens first."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=[*special], unk_token=unknown, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    return [(piece, score) for piece, score in json.loads(made.to_str())["model"]["vocab"]]


def _bert() -> Any:
    return transformers.BertTokenizer(vocab=wordpiece(), model_max_length=LIMIT)


def _roberta() -> Any:
    return transformers.RobertaTokenizer(**bytes_bpe("<s>", "<pad>", "</s>", "<unk>", "<mask>"), model_max_length=LIMIT)


def _xlm_roberta() -> Any:
    vocabulary = unigram("<s>", "<pad>", "</s>", "<unk>", unknown="<unk>")
    return transformers.XLMRobertaTokenizer(vocab=[*vocabulary, ("<mask>", 0.0)], model_max_length=LIMIT)


def _deberta() -> Any:
    vocabulary = unigram("[PAD]", "[CLS]", "[SEP]", "[UNK]", unknown="[UNK]")
    return transformers.DebertaV2Tokenizer(vocab=[*vocabulary, ("[MASK]", 0.0)], unk_id=3, model_max_length=LIMIT)


def _modernbert() -> Any:
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    special["mask_token"] = "[MASK]"
    made = Tokenizer(models.BPE(**bytes_bpe(*special.values())))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast: Any = transformers.PreTrainedTokenizerFast  # has no types
    return fast(tokenizer_object=made, model_max_length=LIMIT, **special)


# Name: (tokenizer, configuration, what it has beyond the usual sizes)
ENCODERS: dict[str, tuple[Callable[[], Any], str, dict[str, Any]]] = {
    "bert": (_bert, "BertConfig", {"max_position_embeddings": LIMIT}),
    "roberta": (_roberta, "RobertaConfig", {"max_position_embeddings": LIMIT + 2, "type_vocab_size": 1}),
    "xlm-roberta": (_xlm_roberta, "XLMRobertaConfig", {"max_position_embeddings": LIMIT + 2, "type_vocab_size": 1}),
    "deberta-v2": (
        _deberta,
        "DebertaV2Config",
        {
            "max_position_embeddings": LIMIT,
            "relative_attention": True,
            "position_buckets": 16,
            "pos_att_type": ["p2c", "c2p"],
            "type_vocab_size": 0,
        },
    ),
    "modernbert": (
        _modernbert,
        "ModernBertConfig",
        {"max_position_embeddings": LIMIT, "local_attention": 8, "global_attn_every_n_layers": 2},
    ),
}


def encoder(directory: Path, family: str, head: str, **settings: Any) -> str:
    """Write an encoder with a head as a standard directory.

    Args:
        family: one of `ENCODERS`.
        head: the name of transformers' Auto class, such as `AutoModelForTokenClassification`.
        settings: of its configuration, such as `num_labels`.
    """
    make, config, sizes = ENCODERS[family]
    tokenizer = make()
    return save(directory, tokenizer, config, head, {**SIZES, **sizes, **settings})


def save(directory: Path, tokenizer: Any, config: str, head: str, settings: dict[str, Any]) -> str:
    """Write a model with random weights, and its tokenizer."""
    torch.manual_seed(0)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    made = getattr(transformers, config)(**{"vocab_size": len(tokenizer), **special, **settings})
    getattr(transformers, head).from_config(made).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)
