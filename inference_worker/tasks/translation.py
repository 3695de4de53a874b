"""Task `translation`: a text in another language, as `{"translation": "…"}`, by an encoder-decoder.

Decoding is by beams, as the artifact's generation settings say, or as transformers' pipeline does if they say nothing:
four beams, at most 256 tokens. A text longer than the model reads at once is translated in parts that end with a
sentence; what stood between them, such as a blank line, stands between their translations.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.decoding import UnwantedPass
from inference_worker.tasks.languages import Direction, languages_of
from inference_worker.tasks.progress import UNTOLD, Telling
from inference_worker.tasks.protocol import Encoded, InvalidInput, Item, Output
from inference_worker.tasks.rows import Row, pad, passes
from inference_worker.tasks.sentences import sentence_spans
from inference_worker.tasks.tokenizer_files import load_tokenizer, text_reader
from inference_worker.tasks.tokens import input_limit
from inference_worker.tasks.torch_models import load_model, moved
from shared.contract.errors import ConfigurationError

_DEFAULT_BEAMS, _DEFAULT_MOST_TOKENS = 4, 256  # of transformers' pipeline
_LEAST_ROOM = 16
_Settings: Any = GenerationConfig  # has no types


class _Text(NamedTuple):
    """A text in parts: the token ids of each, and what stood after each."""

    direction: Direction
    parts: list[list[int]]
    between: list[str]


class _Part(NamedTuple):
    """The token ids of a part of a text, and whether nobody wants it any more."""

    ids: Sequence[int]
    stopped: Callable[[], bool]


class Translation:
    """Any encoder-decoder that translates."""

    def __init__(self, model: Any, tokenizer: Any, token_budget: int) -> None:
        self._model, self._tokenizer, self._token_budget = model, tokenizer, token_budget
        # What the artifact says of generating is taken from the model, which would prefer it to what it is told.
        self._said, model.generation_config = model.generation_config.to_diff_dict(), _Settings()
        self._tokenizer.split_special_tokens = True  # a text is only data: `</s>` in it is text
        self._reader = text_reader(tokenizer) if tokenizer.is_fast else None
        self._languages = languages_of(tokenizer, model.config)
        self._limit = input_limit(model.config, tokenizer.model_max_length)
        self.sample = Item("The bridge is closed. Repairs take six weeks.", self._languages.sample)

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> Translation:
        """Load an encoder-decoder.

        Raises:
            ConfigurationError: the artifact is of another kind.
        """
        if not artifact.config.is_encoder_decoder:
            raise ConfigurationError(f"{artifact.location} is no encoder-decoder: translation needs one")
        return cls(load_model("AutoModelForSeq2SeqLM", artifact), load_tokenizer(artifact, fast=False), token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Cut and tokenize; `data` is a `_Text`.

        Raises:
            InvalidInput: the options name a language that the model does not know.
        """
        return [self._encode(item) for item in items]

    def predict(self, batch: Sequence[Encoded], progress: Telling = UNTOLD) -> list[Output]:
        """Translate all parts, those of one direction together; no confidence."""
        parts = [_Part(ids, partial(progress.stopped, at)) for at, each in enumerate(batch) for ids in each.data.parts]
        directions = [each.data.direction for each in batch for _ in each.data.parts]
        by_direction: dict[Direction, list[int]] = defaultdict(list)
        for index, direction in enumerate(directions):
            by_direction[direction].append(index)
        done: dict[int, str] = {}
        for direction, indices in by_direction.items():
            texts = self._translate(direction, [parts[index] for index in indices])
            done.update(zip(indices, texts, strict=True))
        in_order = iter(done[index] for index in range(len(parts)))
        return [Output({"translation": _joined(each.data, in_order)}) for each in batch]

    def _encode(self, item: Item) -> Encoded:
        direction = self._languages.direction(item.options.get("src_lang"), item.options.get("tgt_lang"))
        if direction.source is not None:
            self._tokenizer.src_lang = direction.source
        room = self._limit
        if len(self._ids(direction, "")) + _LEAST_ROOM > room:
            raise InvalidInput(f"a model that reads {room} tokens has no room for a text")
        spans = list(self._parts(direction, item.text))
        texts = [item.text] if len(spans) == 1 else [item.text[start:end] for start, end in spans]
        between = [item.text[end:start] or " " for (_, end), (start, _) in zip(spans, spans[1:], strict=False)]
        parts = [self._ids(direction, text) for text in texts]
        longest = max(map(len, parts)) + self._most(direction)
        return Encoded(longest, _Text(direction, parts, [*between, ""]), len(parts))

    def _ids(self, direction: Direction, text: str) -> list[int]:
        if self._reader is None:
            return list(self._tokenizer(direction.prefix + text, verbose=False)["input_ids"])
        around = list(self._tokenizer("", verbose=False)["input_ids"])
        before = len(getattr(self._tokenizer, "prefix_tokens", ()))
        ids = self._reader.encode(direction.prefix + text, add_special_tokens=False).ids
        return [*around[:before], *ids, *around[before:]]

    def _parts(self, direction: Direction, text: str) -> Iterator[tuple[int, int]]:
        """Spans of a text that fit the model, halved between sentences, else between words, until they do."""
        starts = [start for start, _ in sentence_spans(text)]
        waiting = [_stripped(text, 0, len(text))]
        while waiting:
            start, end = waiting.pop()
            if len(self._ids(direction, text[start:end])) <= self._limit or end - start < 2:
                yield start, end
                continue
            cut = _middle(text, start, end, starts)
            halves = [_stripped(text, start, cut), _stripped(text, cut, end)]
            waiting += [half for half in reversed(halves) if half[0] < half[1]]

    def _translate(self, direction: Direction, parts: Sequence[_Part]) -> list[str]:
        """Each part; what nobody wants any more is left between tokens and passes."""
        texts = [""] * len(parts)
        most = self._most(direction)
        for indices in passes([len(part.ids) + most for part in parts], self._token_budget):
            wanted = [index for index in indices if not parts[index].stopped()]
            own = [parts[index] for index in wanted]
            for index, written in zip(wanted, self._run(direction, own) if own else (), strict=True):
                texts[index] = self._tokenizer.decode(
                    written, skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
        return texts

    def _run(self, direction: Direction, parts: Sequence[_Part]) -> list[list[int]]:
        """Generate for one pass."""
        padded = pad([Row(part.ids, (), len(part.ids)) for part in parts], self._tokenizer.pad_token_id or 0)
        inputs = moved(padded, self._model.device)
        with torch.inference_mode():
            ids: Tensor = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                generation_config=self._settings(direction),
                stopping_criteria=[UnwantedPass(len(parts), lambda row: parts[row].stopped())],
            )
        return list(ids.tolist())

    def _most(self, direction: Direction) -> int:
        return int(self._settings(direction).max_new_tokens)

    def _settings(self, direction: Direction) -> Any:
        """The pair's, then the artifact's, then the pipeline's; never sampled: the same text has one translation."""
        said = self._said | dict(direction.settings)
        lengths = (
            dict(direction.settings) if {"max_new_tokens", "max_length"} & dict(direction.settings).keys() else said
        )
        settings = _Settings(**said)
        settings.update(
            max_new_tokens=_most_tokens(lengths), max_length=None, num_beams=said.get("num_beams", _DEFAULT_BEAMS)
        )
        settings.update(do_sample=False, temperature=None, top_p=None, top_k=None)
        settings.update(num_return_sequences=1, return_dict_in_generate=False)
        if direction.first_token is not None:
            settings.update(forced_bos_token_id=direction.first_token)
        if settings.pad_token_id is None:
            settings.update(pad_token_id=self._tokenizer.pad_token_id)
        return settings


def _most_tokens(said: Mapping[str, Any]) -> int:
    """How many tokens a translation has at most; `max_length` counts the token too that a decoder starts with."""
    if most := said.get("max_new_tokens"):
        return int(most)
    return int(said["max_length"]) - 1 if said.get("max_length") else _DEFAULT_MOST_TOKENS


def _joined(text: _Text, translations: Iterator[str]) -> str:
    return "".join(next(translations) + between for between in text.between)


def _middle(text: str, start: int, end: int, sentences: Sequence[int]) -> int:
    """Where to halve a span: at the sentence nearest to its middle, else the word before it, else there."""
    middle = (start + end) // 2
    at = bisect_left(sentences, middle)
    near = [cut for cut in sentences[max(0, at - 1) : at + 1] if start < cut < end]
    if near:
        return min(near, key=lambda cut: abs(cut - middle))
    return next((cut for cut in range(middle, start, -1) if text[cut].isspace()), middle)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    leading = len(part) - len(part.lstrip())
    return start + leading, max(start + leading, start + len(part.rstrip()))
