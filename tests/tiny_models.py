"""Models with random weights, made in milliseconds: what they answer means nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "bridge", "is", "closed", "this", "example", "about", ".", "a", "b"]


def save(directory: Path, model: Any, limit: int = 64) -> str:
    """Write a fixture as a standard transformers directory, with a tokenizer of fourteen words."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast: Any = PreTrainedTokenizerFast  # has no types
    fast(tokenizer_object=tokenizer, model_max_length=limit, **special).save_pretrained(directory)
    model.save_pretrained(directory)
    return str(directory)


def bert(**settings: Any) -> BertConfig:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    return BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **sizes, **settings)
