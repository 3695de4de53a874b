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
import transformers as typed
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

transformers: Any = typed  # tokenizers have no types
torch.set_num_threads(1)  # models this small are slower with more

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
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LIMIT, **special)


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


def save(
    directory: Path,
    tokenizer: Any,
    config: str,
    head: str,
    settings: dict[str, Any],
    generation: dict[str, Any] | None = None,
) -> str:
    """Write a model with random weights, and its tokenizer."""
    torch.manual_seed(0)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    made = getattr(transformers, config)(**{"vocab_size": len(tokenizer), **special, **settings})
    model = getattr(transformers, head).from_config(made)
    if generation:
        model.generation_config.update(**generation)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")
_SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": LIMIT,
    "init_std": 0.5,
    "tie_word_embeddings": False,  # with them, a random model says the same token again and again
}


def _t5(directory: Path) -> Any:
    return transformers.T5Tokenizer(vocab=unigram("<pad>", "</s>", "<unk>", unknown="<unk>"), model_max_length=LIMIT)


def _mbart(directory: Path) -> Any:
    vocabulary = unigram(*FAIRSEQ, unknown="<unk>")
    languages = [(code, 0.0) for code in ("de_DE", "en_XX", "fr_XX")]
    return transformers.MBartTokenizer(vocab=[*vocabulary, *languages, ("<mask>", 0.0)], model_max_length=LIMIT)


def _mbart50(directory: Path) -> Any:
    vocabulary = unigram(*FAIRSEQ, unknown="<unk>")
    languages = [(code, 0.0) for code in ("de_DE", "en_XX", "fr_XX")]
    return transformers.MBart50Tokenizer(vocab=[*vocabulary, *languages, ("<mask>", 0.0)], model_max_length=LIMIT)


def _nllb(directory: Path) -> Any:
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=150, special_tokens=[*FAIRSEQ], show_progress=False)
    )
    model = json.loads(made.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return transformers.NllbTokenizer(vocab=model["vocab"], merges=merges, model_max_length=LIMIT)


def _sentencepiece(directory: Path, name: str) -> dict[str, int]:
    """Train and write a sentencepiece model; its vocabulary."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4), model_prefix=str(directory / name), vocab_size=100, minloglevel=2
    )
    lines = (directory / f"{name}.vocab").read_text(encoding="utf-8").splitlines()
    return {line.split("\t")[0]: index for index, line in enumerate(lines)}


def _marian(directory: Path) -> Any:
    pieces = _sentencepiece(directory, "source")
    for source, copy in (("source.model", "source.spm"), ("source.model", "target.spm")):
        (directory / copy).write_bytes((directory / source).read_bytes())
    names = [
        "</s>",
        "<unk>",
        *(each for each in pieces if each not in ("<s>", "</s>", "<unk>")),
        ">>fra<<",
        ">>deu<<",
        "<pad>",
    ]
    (directory / "vocab.json").write_text(
        json.dumps({name: index for index, name in enumerate(names)}), encoding="utf-8"
    )
    spm = [str(directory / name) for name in ("source.spm", "target.spm", "vocab.json")]
    return transformers.MarianTokenizer(*spm, source_lang="eng", target_lang="fra", model_max_length=LIMIT)


def _m2m100(directory: Path) -> Any:
    pieces = _sentencepiece(directory, "sentencepiece.bpe")
    names = ["<s>", "<pad>", "</s>", "<unk>", *(each for each in pieces if each not in ("<s>", "</s>", "<unk>"))]
    names += [f"unused{number}" for number in range(3000)]  # far more than there are languages, as in the real one
    (directory / "vocab.json").write_text(
        json.dumps({name: index for index, name in enumerate(names)}), encoding="utf-8"
    )
    files = {"vocab_file": str(directory / "vocab.json"), "spm_file": str(directory / "sentencepiece.bpe.model")}
    return transformers.M2M100Tokenizer(**files, model_max_length=LIMIT)


_T5_TASKS = {
    "translation_en_to_de": {"prefix": "translate English to German: ", "num_beams": 3, "max_length": 14},
    "translation_en_to_fr": {"prefix": "translate English to French: "},
}
# Name: (tokenizer, configuration, what it has beyond the usual sizes, languages to ask for)
TRANSLATORS: dict[str, tuple[Callable[[Path], Any], str, dict[str, Any], dict[str, str]]] = {
    "t5": (
        _t5,
        "T5Config",
        {
            "d_model": 32,
            "d_kv": 16,
            "d_ff": 32,
            "num_layers": 2,
            "num_heads": 2,
            "initializer_factor": 3.0,
            "tie_word_embeddings": False,
        }
        | {"decoder_start_token_id": 0, "task_specific_params": _T5_TASKS},
        {"src_lang": "en", "tgt_lang": "de"},
    ),
    "mbart": (_mbart, "MBartConfig", _SEQ2SEQ, {"src_lang": "en_XX", "tgt_lang": "de_DE"}),
    "mbart50": (
        _mbart50,
        "MBartConfig",
        _SEQ2SEQ | {"decoder_start_token_id": 2},
        {"src_lang": "de_DE", "tgt_lang": "fr_XX"},
    ),
    "nllb": (
        _nllb,
        "M2M100Config",
        _SEQ2SEQ | {"decoder_start_token_id": 2},
        {"src_lang": "eng_Latn", "tgt_lang": "fra_Latn"},
    ),
    "m2m100": (
        _m2m100,
        "M2M100Config",
        _SEQ2SEQ | {"decoder_start_token_id": 2},
        {"src_lang": "en", "tgt_lang": "fr"},
    ),
    "marian": (_marian, "MarianConfig", _SEQ2SEQ, {}),
}


def translator(directory: Path, family: str, **generation: Any) -> str:
    """Write an encoder-decoder that translates, one of `TRANSLATORS`, with these generation settings."""
    make, config, sizes, _ = TRANSLATORS[family]
    tokenizer = make(directory)
    start = {} if "decoder_start_token_id" in sizes else {"decoder_start_token_id": tokenizer.pad_token_id}
    if family == "m2m100":  # its languages follow its vocabulary
        start["vocab_size"] = max(tokenizer.lang_code_to_id.values()) + 1
    return save(directory, tokenizer, config, "AutoModelForSeq2SeqLM", {**sizes, **start}, generation)


_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def _bytes_tokenizer(*special: str, **named: Any) -> Any:
    made = Tokenizer(models.BPE(**bytes_bpe(*special)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LIMIT, **named)


def _gpt2() -> Any:
    return _bytes_tokenizer("<|endoftext|>", eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def _llama() -> Any:
    tokenizer = _bytes_tokenizer("<s>", "</s>", "<unk>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    return tokenizer


def _qwen2() -> Any:
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    tokenizer = _bytes_tokenizer(
        *special, pad_token=special[0], eos_token=special[2], additional_special_tokens=list(special)
    )
    tokenizer.chat_template = _CHATML
    return tokenizer


_DECODER = SIZES | {
    "num_key_value_heads": 1,
    "max_position_embeddings": LIMIT,
    "initializer_range": 0.5,
    "tie_word_embeddings": False,
}
WRITERS: dict[str, tuple[Callable[[], Any], str, dict[str, Any]]] = {
    "gpt2": (
        _gpt2,
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": LIMIT, "initializer_range": 0.5}
        | {"tie_word_embeddings": False},
    ),
    "llama": (_llama, "LlamaConfig", _DECODER),
    "qwen2": (_qwen2, "Qwen2Config", _DECODER),
}


def writer(directory: Path, family: str, **generation: Any) -> str:
    """Write a causal language model, one of `WRITERS`, with these generation settings."""
    make, config, sizes = WRITERS[family]
    return save(directory, make(), config, "AutoModelForCausalLM", sizes, generation)


_PREPARED = {"do_resize": True, "size": {"height": 32, "width": 32}, "do_normalize": True}
CLASSIFIERS_OF_IMAGES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": (
        "ViTConfig",
        SIZES | {"image_size": 32, "patch_size": 8},
        "ViTImageProcessorPil",
        _PREPARED,
    ),
    "convnext": (
        "ConvNextConfig",
        {"depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2, "initializer_range": 0.3},
        "ConvNextImageProcessorPil",
        {"size": {"shortest_edge": 32}},
    ),
    "resnet": (
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        "ConvNextImageProcessorPil",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.875},
    ),
}


def image_classifier(directory: Path, family: str, **settings: Any) -> str:
    """Write an image classifier, one of `CLASSIFIERS_OF_IMAGES`, and how it prepares images."""
    config, sizes, processor, prepared = CLASSIFIERS_OF_IMAGES[family]
    torch.manual_seed(0)
    made = getattr(transformers, config)(**{"num_labels": 7, **sizes, **settings})
    transformers.AutoModelForImageClassification.from_config(made).save_pretrained(directory)
    getattr(transformers, processor)(**prepared).save_pretrained(directory)
    return str(directory)
