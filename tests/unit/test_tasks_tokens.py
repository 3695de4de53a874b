"""Rows as a model was trained to read them: special tokens, types, limits."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, PreTrainedTokenizerFast

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.protocol import InvalidInput
from inference_worker.tasks.rows import Row
from inference_worker.tasks.tokens import TextTokenizer, chunks, input_limit
from shared.contract.errors import ConfigurationError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "bridge", "is", "closed", ".", "open", "a", "b"]
PAD, UNK, CLS, SEP, THE, BRIDGE, IS, CLOSED, DOT, OPEN, A, B = range(len(WORDS))
BERT = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
ROBERTA = processors.RobertaProcessing(("[SEP]", SEP), ("[CLS]", CLS))
T5 = processors.TemplateProcessing(single="$A [SEP]", pair="$A [SEP] $B [SEP]", special_tokens=[("[SEP]", SEP)])
UNLIMITED = int(1e30)


def raw(frame: Any = BERT, limit: int = UNLIMITED, *, saved_state: bool = True, **special: str) -> Any:
    """A tokenizer of twelve words."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = frame
    if saved_state:  # as some tokenizer.json have it: it must neither cut nor fill
        tokenizer.enable_truncation(5)
        tokenizer.enable_padding(length=7)
    fast: Any = PreTrainedTokenizerFast  # has no types
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", **special}
    return fast(tokenizer_object=tokenizer, model_max_length=limit, **special)


def tokenizer(frame: Any = BERT, limit: int = 12) -> TextTokenizer:
    return TextTokenizer(raw(frame, pad_token="[PAD]"), limit)


# --- how much a model reads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "of_tokenizer", "limit"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, UNLIMITED, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, UNLIMITED, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": None}, UNLIMITED, 513),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, UNLIMITED, 512),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 1}, UNLIMITED, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, UNLIMITED, 512),
        ({"model_type": "longformer", "max_position_embeddings": 4098, "pad_token_id": 1}, UNLIMITED, 4096),
        ({"model_type": "t5", "n_positions": 300}, UNLIMITED, 300),
        ({"model_type": "other", "max_sequence_length": 200}, UNLIMITED, 200),
        ({"model_type": "bert", "max_position_embeddings": 512}, 128, 128),
        ({"model_type": "bert", "max_position_embeddings": 64}, 128, 64),
        ({"model_type": "t5"}, 256, 256),
        ({"model_type": "t5"}, UNLIMITED, 512),
        ({"model_type": "t5"}, 1_000_000, 512),
        ({"model_type": "bert", "max_position_embeddings": 0}, 0, 512),
    ],
)
def test_a_model_reads_the_least_that_its_configuration_and_its_tokenizer_name(
    config: dict[str, Any], of_tokenizer: int, limit: int
) -> None:
    assert input_limit(SimpleNamespace(**config), of_tokenizer) == limit


def test_a_row_has_room_for_at_least_one_token() -> None:
    assert TextTokenizer(raw(), 3).row_room == 1
    with pytest.raises(ConfigurationError, match="a model that reads 2 tokens has no room for a text"):
        TextTokenizer(raw(), 2)


def test_short_rows_are_filled_with_what_the_tokenizer_says_or_else_the_configuration() -> None:
    assert TextTokenizer(raw(pad_token="[SEP]"), 12, 9).pad_id == SEP
    assert TextTokenizer(raw(pad_token="[PAD]"), 12, 9).pad_id == PAD
    assert TextTokenizer(raw(saved_state=False), 12, 9).pad_id == 9
    assert TextTokenizer(raw(saved_state=False), 12).pad_id == 0


def test_a_model_is_given_the_inputs_that_its_tokenizer_names_and_always_a_mask() -> None:
    named = raw()
    named.model_input_names = ["token_type_ids", "input_ids", "something"]
    assert TextTokenizer(named, 12).inputs == ("input_ids", "attention_mask", "token_type_ids")
    named.model_input_names = ["input_ids"]
    assert TextTokenizer(named, 12).inputs == ("input_ids", "attention_mask")


@pytest.mark.parametrize(("given", "limit", "pad_id"), [(None, 20, 7), (9, 9, 7)])
def test_what_is_loaded_reads_as_much_as_it_is_told_or_else_its_configuration(
    tmp_path: Path, given: int | None, limit: int, pad_id: int
) -> None:
    raw(saved_state=False).save_pretrained(tmp_path)
    config = BertConfig(vocab_size=12, max_position_embeddings=20, pad_token_id=pad_id)
    tokens = TextTokenizer.load(Artifact(tmp_path, config, "float32", "here"), given)
    assert (tokens.limit, tokens.pad_id) == (limit, pad_id)
    assert tokens.rows(["The bridge"]) == [[Row([CLS, THE, BRIDGE, SEP], [0] * 4, 2)]]
    config.pad_token_id = None
    assert TextTokenizer.load(Artifact(tmp_path, config, "float32", "here")).pad_id == 0


def test_a_text_above_the_limit_is_no_reason_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("transformers")
    log.addHandler(caplog.handler)
    caplog.set_level(logging.WARNING, "transformers")  # whoever loaded a model before may have asked for silence
    try:
        tokens = TextTokenizer(raw(limit=4), 12)
        tokens.tokenize(["a b " * 5])
        TextTokenizer(raw(limit=4), 12).control("a b " * 5)
        assert not caplog.records
        raw(limit=4)("a b " * 5)  # which would be one otherwise
        assert caplog.records
    finally:
        log.removeHandler(caplog.handler)


def test_once_it_is_loaded_no_call_changes_the_state_of_a_tokenizer() -> None:
    made = raw(limit=4)
    tokens = TextTokenizer(made, 12)
    tokens.control("[CLS] a")
    backend = made.backend_tokenizer
    assert (backend.encode_special_tokens, backend.truncation, backend.padding) == (True, None, None)
    tokens.pair_rows(["[CLS] a " * 9], ["b"])
    assert (backend.encode_special_tokens, backend.truncation, backend.padding) == (True, None, None)


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "row"),
    [(BERT, [CLS, THE, BRIDGE, SEP]), (ROBERTA, [CLS, THE, BRIDGE, SEP]), (T5, [THE, BRIDGE, SEP])],
)
def test_a_text_stands_between_special_tokens(frame: Any, row: list[int]) -> None:
    assert tokenizer(frame).rows(["The bridge"]) == [[Row(row, [0] * len(row), 2)]]


@pytest.mark.parametrize(
    ("frame", "ids", "types"),
    [
        (BERT, [CLS, THE, BRIDGE, SEP, A, SEP], [0, 0, 0, 0, 1, 1]),
        (ROBERTA, [CLS, THE, BRIDGE, SEP, SEP, A, SEP], [0] * 7),
        (T5, [THE, BRIDGE, SEP, A, SEP], [0, 0, 0, 1, 0]),
    ],
)
def test_a_pair_stands_as_the_tokenizer_would_write_it(frame: Any, ids: list[int], types: list[int]) -> None:
    if frame is T5:
        frame = processors.TemplateProcessing(
            single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]", special_tokens=[("[SEP]", SEP)]
        )
    assert tokenizer(frame).pair_rows(["The bridge"], ["a"]) == [[[Row(ids, types, 2)]]]
    assert TextTokenizer(raw(frame, 4), 12).pair_rows(["The bridge"], ["a"]) == [[[Row(ids, types, 2)]]]  # uncut


@pytest.mark.parametrize(("frame", "first"), [(BERT, 1), (T5, 0)])
def test_where_in_a_row_the_text_stands_is_known(frame: Any, first: int) -> None:
    tokens = tokenizer(frame)
    row = tokens.row([THE, BRIDGE])
    assert tokens.of_text(row) == slice(first, first + 2) and row.ids[tokens.of_text(row)] == [THE, BRIDGE]
    assert tokens.of_text(tokens.row([])) == slice(first, first)


def test_each_part_of_a_row_has_the_type_that_the_tokenizer_gives_it() -> None:
    frame = processors.TemplateProcessing(
        single="[CLS]:1 $A:1 [SEP]:1",
        pair="[CLS]:4 $A:1 [SEP]:3 $B:5 [SEP]:2",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    named = raw(frame)
    named.model_input_names = ["input_ids"]  # types are asked for all the same
    tokens = TextTokenizer(named, 12)
    assert tokens.rows(["The bridge"]) == [[Row([CLS, THE, BRIDGE, SEP], [1] * 4, 2)]]
    [[[row]]] = tokens.pair_rows(["The bridge"], ["a"])
    assert row == Row([CLS, THE, BRIDGE, SEP, A, SEP], [4, 1, 1, 3, 5, 2], 2)


def test_a_text_without_tokens_is_a_row_all_the_same_and_counts_as_one() -> None:
    assert tokenizer().rows([""]) == [[Row([CLS, SEP], [0, 0], 1)]]
    assert tokenizer().pair_rows([""], ["a"]) == [[[Row([CLS, SEP, A, SEP], [0, 0, 1, 1], 1)]]]
    assert tokenizer().rows([]) == [] and tokenizer().tokenize([]) == []


def test_a_long_text_is_cut_between_sentences_and_nothing_of_it_is_lost() -> None:
    [rows] = tokenizer(limit=12).rows(["The bridge is closed. The bridge is open. A b."])
    closed, opened = [THE, BRIDGE, IS, CLOSED, DOT], [THE, BRIDGE, IS, OPEN, DOT]
    assert [row.ids for row in rows] == [[CLS, *closed, *opened, SEP], [CLS, A, B, DOT, SEP]]
    assert [row.weight for row in rows] == [10, 3]
    [rows] = tokenizer(limit=12).rows(["a b " * 5])
    assert [row.ids for row in rows] == [[CLS, *[A, B] * 5, SEP]]  # what fits exactly is one row


def test_a_row_of_two_texts_has_room_for_both_and_what_stands_around_them() -> None:
    tokens = tokenizer(limit=12)
    assert tokens.pair_room == 9 and len(tokens.pair_row([A] * 4, [B] * 5).ids) == 12


def test_of_a_pair_the_text_is_cut_and_each_part_stands_beside_every_second_text() -> None:
    [[one, two]] = tokenizer(limit=12).pair_rows(["a b " * 5], ["the", "the bridge"])
    first, rest = [CLS, *[A, B] * 3, A, SEP], [CLS, B, A, B, SEP]
    assert [row.ids for row in one] == [[*part, THE, SEP] for part in (first, rest)]
    assert [row.ids for row in two] == [[*part, THE, BRIDGE, SEP] for part in (first, rest)]
    assert [row.weight for row in one] == [7, 3]


def test_a_second_text_leaves_a_quarter_of_the_room() -> None:
    tokens = tokenizer(limit=12)
    [[[row, *_]]] = tokens.pair_rows(["a b " * 5], ["a " * 6])
    assert len(row.ids) == 12 and row.weight == 3
    with pytest.raises(InvalidInput, match="a label is too long for a model that reads 12 tokens"):
        tokens.pair_rows(["a b"], ["b", "a " * 7])
    [[[row, *_]]] = tokenizer(limit=15).pair_rows(["a b " * 5], ["a " * 9])  # a quarter is rounded down
    assert row.weight == 3


def test_a_row_behind_a_prompt_weighs_what_its_text_has() -> None:
    rows = tokenizer(limit=24).prompted_rows("the ", ["", "a", "a b a"])
    assert [row.weight for [row] in rows] == [1, 1, 3]


def test_special_tokens_in_a_text_are_words_and_in_our_own_prompts_special() -> None:
    tokens = tokenizer()
    [text] = tokens.tokenize(["[CLS] a"])
    assert CLS not in text.ids and text.ids[-1] == A and text.offsets[-1] == (6, 7)
    assert tokens.control("[CLS] a [SEP]") == [CLS, A, SEP]
    [again] = tokens.tokenize(["[CLS] a"])
    assert again.ids == text.ids


def test_a_prompt_is_framed_around_its_mark() -> None:
    assert tokenizer().frame("the bridge XX is", "XX") == ([CLS, THE, BRIDGE], [IS, SEP])


def test_generated_tokens_are_read_without_special_ones() -> None:
    assert tokenizer().decode([CLS, THE, BRIDGE, SEP, PAD]) == "the bridge"
    cleans_up = raw()
    cleans_up.clean_up_tokenization_spaces = True
    assert TextTokenizer(cleans_up, 12).decode([THE, BRIDGE, DOT]) == "the bridge ."  # as it was generated


@pytest.mark.parametrize(("room", "count"), [(10, 1), (9, 2), (5, 2), (3, 4)])
def test_chunks_have_at_most_so_many_tokens(room: int, count: int) -> None:
    [text] = tokenizer().tokenize(["a b " * 5])
    parts = chunks(text, room)
    assert [token for part in parts for token in part] == text.ids
    assert len(parts) == count and max(map(len, parts)) <= room
