"""A model's tokenizer as the tasks use it: whole lists at once, long texts in chunks, a text only ever as text.

Fast tokenizers keep truncation and padding as state that a call may change under another thread. Here no call asks for
either: rows are cut by `chunking` and padded by `rows`, and the state is cleared once at loading. A text is only
data: a `[SEP]` or `<|im_end|>` in it is split into ordinary tokens, never read as the control token of that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Steps

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.chunking import chunk_tokens
from inference_worker.tasks.protocol import InvalidInput
from inference_worker.tasks.rows import Row
from inference_worker.tasks.sentences import Span, sentence_spans
from inference_worker.tasks.tokenizer_files import control_ids, embeddings_of, load_tokenizer, text_reader
from shared.contract.errors import ConfigurationError

_UNKNOWN_LIMIT = 512
_NO_LIMIT = 1_000_000  # transformers writes 1e30 where a tokenizer does not know its limit
_OFFSET_POSITIONS = {  # count positions from pad_id + 1; `forward` finds out about others
    *("camembert", "data2vec-text", "esm", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm"),
    *("xlm-roberta", "xlm-roberta-xl", "xmod", "luke", "lilt", "markuplm", "layoutlmv3"),
}
_JOINT = 4  # tokens by which a prompt and a text may be longer together than each by itself
_LETTERS = ("a", "A", "1", ".", "あ")  # one of which every vocabulary has, or an unknown token for it


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text's token ids without special tokens, and where each token stands in it."""

    text: str
    ids: Sequence[int]
    offsets: Sequence[Span]


@dataclass(frozen=True, slots=True)
class _Frame:
    """The special tokens around one text, or around and between two, each with its type."""

    before: Sequence[tuple[int, int]]
    between: Sequence[tuple[int, int]]
    after: Sequence[tuple[int, int]]
    types: tuple[int, int]  # of the texts' own tokens

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    @property
    def ids(self) -> set[int]:
        return {token for token, _ in (*self.before, *self.between, *self.after)}

    def row(self, ids: Sequence[int], other: Sequence[int] = ()) -> Row:
        first, second = ([(token, kind) for token in part] for part, kind in zip((ids, other), self.types, strict=True))
        tokens = [*self.before, *first, *self.between, *second, *self.after]
        return Row([token for token, _ in tokens], [kind for _, kind in tokens], max(1, len(ids)))


class TextTokenizer:
    """Texts to rows that fit the model.

    Attributes:
        limit: most tokens in a row, special tokens included.
        pad_id: the token that fills short rows; None if no token is left for that, so that rows must not be filled.
        inputs: which tensors the model takes.
        raw: transformers' own tokenizer, for what one task alone wants to know of it.
    """

    def __init__(self, tokenizer: Any, limit: int, pad_id: int = 0) -> None:
        self.raw = tokenizer
        self._tokenizer = tokenizer
        self._tokenizer.split_special_tokens = True
        self._reader = text_reader(tokenizer)
        self.limit = limit
        self.pad_id: int | None = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else pad_id
        self.inputs = tuple(name for name in ("input_ids", "attention_mask", "token_type_ids") if name in self._names)
        self._single = self._probe(1)
        self._pair = self._probe(2)
        if self.row_room < 1:
            raise ConfigurationError(f"a model that reads {limit} tokens has no room for a text")

    @classmethod
    def load(cls, artifact: Artifact, limit: int | None = None) -> TextTokenizer:
        """The tokenizer of an artifact; `limit` overrides its own, but not how many positions the model has."""
        tokenizer = load_tokenizer(artifact)
        made = cls(tokenizer, input_limit(artifact.config, limit or tokenizer.model_max_length))
        made.pad_id = made._filler(artifact)
        return made

    @property
    def row_room(self) -> int:
        """Most tokens of text in a row."""
        return self.limit - self._single.size

    @property
    def _names(self) -> set[str]:
        return {*self._tokenizer.model_input_names, "attention_mask"}

    @property
    def pair_room(self) -> int:
        """Most tokens of two texts in a row of both."""
        return self.limit - self._pair.size

    def of_text(self, row: Row) -> slice:
        """Where in a row of one text its tokens stand, between the special ones."""
        first = len(self._single.before)
        return slice(first, first + len(row.ids) - self._single.size)

    def of_second(self, row: Row, count: int) -> slice:
        """Where in a row of two texts the `count` tokens of the second stand."""
        end = len(row.ids) - len(self._pair.after)
        return slice(end - count, end)

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Tokenize a list in one call, whole and without special tokens."""
        if not texts:
            return []
        encoded = self._reader.encode_batch(list(texts), add_special_tokens=False)
        return [TokenizedText(text, each.ids, each.offsets) for text, each in zip(texts, encoded, strict=True)]

    def rows(self, texts: Sequence[str]) -> list[list[Row]]:
        """Tokenize texts into the rows of each: one if it fits, otherwise one for each chunk (see `chunking`)."""
        return [self._rows_of(text) for text in self.tokenize(texts)]

    def pair_rows(self, texts: Sequence[str], seconds: Sequence[str], what: str = "a label") -> list[list[list[Row]]]:
        """Rows of each text beside each second text, `[text][second][chunk]`; only the first is ever chunked.

        Args:
            what: what a second text is, for the error.

        Raises:
            InvalidInput: a second text leaves no room for the first.
        """
        others = self.tokenize(seconds)
        room = self.pair_room - max(len(other.ids) for other in others)
        if room < self.limit // 4:
            raise InvalidInput(f"{what} is too long for a model that reads {self.limit} tokens")
        chunked = [chunks(text, room) for text in self.tokenize(texts)]
        return [[[self.pair_row(ids, other.ids) for ids in parts] for other in others] for parts in chunked]

    def prompted_rows(self, prompt: str, texts: Sequence[str], *, pooled: bool = True) -> list[list[Row]]:
        """Rows of texts, each chunk behind the same prompt.

        Args:
            pooled: whether the prompt's tokens are pooled with those of the text.

        Raises:
            InvalidInput: the prompt leaves no room for a text.
        """
        if not prompt:
            return self.rows(texts)
        [head] = self.tokenize([prompt])
        room = self.row_room - len(head.ids) - _JOINT
        if room < self.limit // 4:
            raise InvalidInput(f"a prompt of {len(head.ids)} tokens is too long for a model that reads {self.limit}")
        skipped = 0 if pooled else len(self._single.before) + len(head.ids)
        whole = self.tokenize([prompt + text for text in texts])
        return [
            [self._prompted(ids, len(head.ids), skipped) for ids in self._behind(prompt, text, joined, room)]
            for text, joined in zip(texts, whole, strict=True)
        ]

    def _behind(self, prompt: str, text: str, joined: TokenizedText, room: int) -> list[Sequence[int]]:
        if len(joined.ids) <= self.row_room:
            return [joined.ids]
        [alone] = self.tokenize([text])
        spans = chunk_tokens(alone.offsets, sentence_spans(text), room)
        pieces = [text[alone.offsets[start][0] : alone.offsets[end - 1][1]] for start, end in spans]
        return [each.ids[: self.row_room] for each in self.tokenize([prompt + piece for piece in pieces])]

    def _prompted(self, ids: Sequence[int], of_prompt: int, skipped: int) -> Row:
        return replace(self.row(ids), weight=max(1, len(ids) - of_prompt), skipped=skipped)

    def read_masks(self) -> None:
        """Read the mask in a text as a mask, though other control tokens are text."""
        self._reader = text_reader(self.raw, self.raw.mask_token)

    def lower_case(self) -> None:
        """Put texts in lower case before they are read, unless the tokenizer does so anyway."""
        own: Any = self._reader.normalizer
        steps = [Lowercase()] if own is None else [Lowercase(), own]
        self._reader.normalizer = Steps(steps)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, without special tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def frame(self, prompt: str, mark: str) -> tuple[list[int], list[int]]:
        """The ids before and after `mark` in a prompt, with the special tokens that open and close a row."""
        before, after = prompt.split(mark)
        row = self._single.row(())
        opens = len(self._single.before)
        ids = [list(text.ids) for text in self.tokenize([before, after])]
        return [*row.ids[:opens], *ids[0]], [*ids[1], *row.ids[opens:]]

    def control(self, prompt: str) -> list[int]:
        """The ids of a part of our own prompt, in which control tokens count; only for use while loading."""
        ids = self._tokenizer(prompt, add_special_tokens=False, split_special_tokens=False, verbose=False)["input_ids"]
        self._tokenizer.backend_tokenizer.encode_special_tokens = True  # back to reading texts as text
        return list(ids)

    def row(self, ids: Sequence[int]) -> Row:
        """The row of one text's tokens."""
        return self._single.row(ids)

    def pair_row(self, ids: Sequence[int], other: Sequence[int]) -> Row:
        """The row of two texts' tokens."""
        return self._pair.row(ids, other)

    def _rows_of(self, text: TokenizedText) -> list[Row]:
        return [self.row(ids) for ids in chunks(text, self.row_room)]

    def _filler(self, artifact: Artifact) -> int | None:
        """What fills short rows.

        An encoder is told by the mask what counts; those that number their positions by it need their own pad token.
        A classifier on a language model looks for the last token that is not the pad: it must be one that no text and
        no frame can end with.
        """
        rows = embeddings_of(artifact.config) or len(self._tokenizer)
        named = (artifact.config.get_text_config().pad_token_id, self._tokenizer.pad_token_id)
        own, declared = (pad if pad is not None and 0 <= pad < rows else None for pad in named)
        if not artifact.is_causal:
            return next((int(pad) for pad in (own, declared) if pad is not None), 0)
        control = {token for token in control_ids(self._tokenizer) if token < rows}
        if own in control:
            return int(own)
        unused = range(max(self._tokenizer.get_vocab().values()) + 1, rows)
        free = [token for token in (declared, *sorted(control)) if token in control - self._single.ids - self._pair.ids]
        return next(iter((*free, *unused[:1])), None)

    def _probe(self, texts: int) -> _Frame:
        """See where the tokenizer puts special tokens, by letting it encode letters.

        This is also the first call, which clears any truncation and padding saved in `tokenizer.json`.
        """
        for letter in _LETTERS:
            given = [letter] * texts
            encoded = self._tokenizer(
                *given, truncation=False, padding=False, return_token_type_ids=True, verbose=False
            )
            places = encoded.sequence_ids(0)
            if 0 in places:
                break
        else:
            raise ConfigurationError("its tokenizer makes no tokens of letters: it is not one for texts")
        tokens = list(zip(encoded["input_ids"], encoded["token_type_ids"], strict=True))
        first = [at for at, place in enumerate(places) if place == 0]
        second = [at for at, place in enumerate(places) if place == 1]
        ends = first[-1] + 1
        return _Frame(
            tokens[: first[0]],
            tokens[ends : second[0]] if second else [],
            tokens[second[-1] + 1 if second else ends :],
            (tokens[first[0]][1], tokens[second[0]][1] if second else 0),
        )


def chunks(text: TokenizedText, room: int) -> list[Sequence[int]]:
    """A text's token ids in chunks of at most `room`, cut between sentences if possible; at least one chunk."""
    if len(text.ids) <= room:
        return [text.ids]
    return [text.ids[start:end] for start, end in chunk_tokens(text.offsets, sentence_spans(text.text), room)]


def input_limit(config: Any, of_tokenizer: int | None) -> int:
    """Most tokens a model reads at once, special tokens included: the least that configuration and tokenizer name."""
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    found = (getattr(config, name, None) for name in _POSITIONS)
    positions = next((value for value in found if isinstance(value, int) and value > 0), None)
    if positions and config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    limits = [limit for limit in (positions, of_tokenizer) if limit and limit < _NO_LIMIT]
    return int(min(limits, default=_UNKNOWN_LIMIT))


_POSITIONS = (
    *("max_position_embeddings", "n_positions", "max_sequence_length", "max_encoder_position_embeddings"),
    *("max_seq_len", "seq_length"),
)
