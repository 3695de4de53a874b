"""A model's tokenizer as the tasks use it: whole lists at once, long texts in chunks, a text only ever as text.

Fast tokenizers keep truncation and padding as state that a call may change under another thread. Here no call asks for
either: rows are cut by `chunking` and padded by `rows`, and the state is cleared once at loading. A text is only
data: a `[SEP]` or `<|im_end|>` in it is split into ordinary tokens, never read as the control token of that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from inference_worker.tasks.artifacts import Artifact, load_tokenizer
from inference_worker.tasks.chunking import chunk_tokens
from inference_worker.tasks.rows import Row
from inference_worker.tasks.sentences import Span, sentence_spans
from shared.contract.errors import ConfigurationError

_UNKNOWN_LIMIT = 512
_NO_LIMIT = 1_000_000  # transformers writes 1e30 where a tokenizer does not know its limit
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}  # count positions from pad_id + 1


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text's token ids without special tokens, and where each token stands in it."""

    text: str
    ids: Sequence[int]
    offsets: Sequence[Span]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The special tokens around one text, or around and between two."""

    before: Sequence[int]
    between: Sequence[int]
    after: Sequence[int]
    types: tuple[int, int, int, int, int]  # of before, first text, between, second text, after

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


class TextTokenizer:
    """Texts to rows that fit the model.

    Attributes:
        limit: most tokens in a row, special tokens included.
        pad_id: the token that fills short rows.
        inputs: which tensors the model takes.
        raw: transformers' own tokenizer, for what one task alone wants to know of it.
    """

    def __init__(self, tokenizer: Any, limit: int, pad_id: int = 0) -> None:
        self.raw = tokenizer
        self._tokenizer = tokenizer
        self._tokenizer.split_special_tokens = True
        self.limit = limit
        self.pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else pad_id
        self.inputs = tuple(name for name in ("input_ids", "attention_mask", "token_type_ids") if name in self._names)
        self._single = self._probe("a")
        self._pair = self._probe("a", "b")
        if self.row_room < 1:
            raise ConfigurationError(f"a model that reads {limit} tokens has no room for a text")

    @classmethod
    def load(cls, artifact: Artifact, limit: int | None = None) -> TextTokenizer:
        """The tokenizer of an artifact; `limit` overrides what its configuration says that it can read."""
        tokenizer = load_tokenizer(artifact)
        return cls(tokenizer, limit or input_limit(artifact.config, tokenizer), artifact.config.pad_token_id or 0)

    @property
    def row_room(self) -> int:
        """Most tokens of text in a row."""
        return self.limit - self._single.size

    @property
    def pair_room(self) -> int:
        """Most tokens of two texts in a row of both."""
        return self.limit - self._pair.size

    def of_text(self, row: Row) -> slice:
        """Where in a row of one text its tokens stand, between the special ones."""
        first = len(self._single.before)
        return slice(first, first + len(row.ids) - self._single.size)

    @property
    def _names(self) -> set[str]:
        return {*self._tokenizer.model_input_names, "attention_mask"}

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize a list in one call, whole and without special tokens."""
        if not texts:
            return []
        # not verbose, since it would warn of texts above the limit, which are chunked here
        encoded = self._tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [
            TokenizedText(text, ids, offsets)
            for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def rows(self, texts: Sequence[str]) -> list[list[Row]]:
        """Tokenize texts into the rows of each: one if it fits, otherwise one for each chunk (see `chunking`)."""
        return [self._rows_of(text) for text in self.tokenize(texts)]

    def pair_rows(self, texts: Sequence[str], seconds: Sequence[str]) -> list[list[list[Row]]]:
        """Rows of each text beside each second text, `[text][second][chunk]`; only the first is ever chunked.

        Raises:
            ValueError: a second text leaves no room for the first.
        """
        others = self.tokenize(seconds)
        room = self.pair_room - max(len(other.ids) for other in others)
        if room < self.limit // 4:
            raise ValueError(f"a label is too long for a model that reads {self.limit} tokens")
        chunked = [chunks(text, room) for text in self.tokenize(texts)]
        return [[[self.pair_row(ids, other.ids) for ids in parts] for other in others] for parts in chunked]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, without special tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def frame(self, prompt: str, mark: str) -> tuple[list[int], list[int]]:
        """The ids before and after `mark` in a prompt, with the special tokens that open and close a row."""
        before, after = prompt.split(mark)
        ids = [list(text.ids) for text in self.tokenize([before, after])]
        return [*self._single.before, *ids[0]], [*ids[1], *self._single.after]

    def chat(self, instruction: str, content: str) -> str | None:
        """A chat in the model's template, up to where its answer begins; None if it has no template.

        The instruction is a system turn, or the start of the user's turn if the template knows no system turns.
        """
        if not self._tokenizer.chat_template:
            return None
        turns = [{"role": "system", "content": instruction}, {"role": "user", "content": content}]
        try:
            prompt = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError:
            turns = [{"role": "user", "content": f"{instruction}\n\n{content}"}]
            prompt = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return str(prompt)

    def control(self, prompt: str) -> list[int]:
        """The ids of a part of our own prompt, in which control tokens count; only for use while loading."""
        ids = self._tokenizer(prompt, add_special_tokens=False, split_special_tokens=False, verbose=False)["input_ids"]
        self.tokenize([prompt])  # sets the tokenizer back to reading texts as text
        return list(ids)

    def row(self, ids: Sequence[int]) -> Row:
        """The row of one text's tokens."""
        frame = self._single
        row = [*frame.before, *ids, *frame.after]
        return Row(row, [frame.types[1]] * len(row), max(1, len(ids)))

    def pair_row(self, ids: Sequence[int], other: Sequence[int]) -> Row:
        """The row of two texts' tokens."""
        frame = self._pair
        parts = (frame.before, ids, frame.between, other, frame.after)
        types = [kind for kind, part in zip(frame.types, parts, strict=True) for _ in part]
        return Row([token for part in parts for token in part], types, max(1, len(ids)))

    def _rows_of(self, text: TokenizedText) -> list[Row]:
        return [self.row(ids) for ids in chunks(text, self.row_room)]

    def _probe(self, *texts: str) -> _Frame:
        """See where the tokenizer puts special tokens, by letting it encode letters.

        This is also the first call, which clears any truncation and padding saved in `tokenizer.json`.
        """
        encoded = self._tokenizer(*texts, truncation=False, padding=False, return_token_type_ids=True, verbose=False)
        ids, kinds, places = encoded["input_ids"], encoded["token_type_ids"], encoded.sequence_ids(0)
        first = [at for at, place in enumerate(places) if place == 0]
        second = [at for at, place in enumerate(places) if place == 1] or [len(ids)]
        gap = range(first[-1] + 1, second[0])
        tail = range(second[-1] + 1, len(ids)) if len(texts) == 2 else gap
        between = gap if len(texts) == 2 else range(0)
        groups = (range(first[0]), first, between, second if len(texts) == 2 else range(0), tail)
        types = [kinds[group[0]] if len(group) else 0 for group in groups]
        return _Frame(
            [ids[at] for at in groups[0]],
            [ids[at] for at in between],
            [ids[at] for at in tail],
            (types[0], types[1], types[2], types[3], types[4]),
        )


def chunks(text: TokenizedText, room: int) -> list[Sequence[int]]:
    """A text's token ids in chunks of at most `room`, cut between sentences if possible; at least one chunk."""
    if len(text.ids) <= room:
        return [text.ids]
    return [text.ids[start:end] for start, end in chunk_tokens(text.offsets, sentence_spans(text.text), room)]


def input_limit(config: Any, tokenizer: Any) -> int:
    """Most tokens a model reads at once, special tokens included: the least that configuration and tokenizer name."""
    positions = next((value for name in _POSITIONS if (value := getattr(config, name, None))), None)
    if positions and config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _NO_LIMIT]
    return int(min(limits, default=_UNKNOWN_LIMIT))


_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")
