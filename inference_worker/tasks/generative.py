"""Summaries written by a model: an encoder-decoder (T5, BART) or a causal language model, chat template or not.

Decoding is greedy, or by as many beams as the artifact's generation settings say: the same text has the same summary. A
text longer than the model reads well is summarized in parts, then the parts' summaries together, over as many rounds as
it takes (map and reduce, hierarchically); every token of it is read. A summary is shorter than its text: at most half
as many tokens. A sentence that the limit cut off is dropped, as is one that repeats another.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from inference_worker.tasks.artifacts import Artifact, load_model
from inference_worker.tasks.protocol import Encoded, Item, Output
from inference_worker.tasks.rows import Row, pad, passes
from inference_worker.tasks.sentences import split_sentences
from inference_worker.tasks.tokens import TextTokenizer, chunks
from shared.contract.errors import ConfigurationError

DEFAULT_MOST_TOKENS = 96
_LONGEST_PART = 2048  # tokens: beyond it small models lose the thread, and attention grows with the square
_SHORTEST_ANSWER = 16  # tokens: room for one short sentence, even if half the text is less
# The best of four wordings tried with SmolLM2 on 15 texts. Two others invented numbers as rarely (in 3 summaries; the
# same words as a user turn: in 5), but its summaries of the fixture articles were the closest to the text.
_INSTRUCTION = (
    "Provide a concise, objective summary of the input text in up to three sentences, focusing on key actions and "
    "intentions without using second or third person pronouns."
)
_MARK = "\u241f"  # stands where the text goes while the prompt is made; no template contains it


@dataclass(frozen=True, slots=True)
class Prompt:
    """The token ids before and after the text."""

    before: Sequence[int]
    after: Sequence[int]

    @property
    def size(self) -> int:
        return len(self.before) + len(self.after)


@dataclass(slots=True)
class _Work:
    """A text on its way to its summary: the parts still to be summarized, in order."""

    parts: list[Sequence[int]]
    most_tokens: int
    summary: str | None = None


class GenerativeSummarization:
    """Summaries in the model's own words, which may be wrong: such a model can invent facts."""

    def __init__(self, model: Any, tokenizer: TextTokenizer, prompt: Prompt, token_budget: int, sample: Item) -> None:
        self.sample = sample
        self._model = model
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._token_budget = token_budget
        self._causal = not model.config.is_encoder_decoder
        reserved = tokenizer.limit // 4 if self._causal else 0  # a causal model writes into the same context it reads
        self._room = min(_LONGEST_PART, tokenizer.limit - prompt.size - reserved)
        self._most_tokens = reserved or 512
        if self._room < 32:
            raise ConfigurationError(f"a model that reads {tokenizer.limit} tokens has no room for a text to summarize")

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int, sample: Item) -> GenerativeSummarization:
        """Load an encoder-decoder or a causal language model, whichever the configuration says it is.

        Raises:
            ConfigurationError: it has no room for a text, or another engine than torch is wanted.
        """
        if artifact.engine != "torch":
            raise ConfigurationError(
                f"{artifact.location} writes its answers: engine {artifact.engine} cannot, torch can"
            )
        kind = AutoModelForSeq2SeqLM if artifact.config.is_encoder_decoder else AutoModelForCausalLM
        tokenizer = TextTokenizer.load(artifact)
        model = load_model(kind, artifact)
        prompt = make_prompt(tokenizer, artifact)
        return cls(model, tokenizer, prompt, token_budget, sample)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is (parts of the text as token ids, most tokens of the summary)."""
        encoded = []
        for item, text in zip(items, self._tokenizer.tokenize([item.text for item in items]), strict=True):
            parts = chunks(text, self._room)
            most = min(item.options.get("max_length") or DEFAULT_MOST_TOKENS, self._most_tokens)
            longest = max(map(len, parts)) + self._prompt.size
            encoded.append(Encoded(longest, (parts, most), len(parts)))
        return encoded

    def predict(self, batch: Sequence[Encoded]) -> list[Output]:
        """Summarize, round by round, parts of all texts together; no confidence."""
        works = [_Work(list(each.data[0]), each.data[1]) for each in batch]
        while pending := [work for work in works if work.summary is None]:
            self._round(pending)
        return [Output({"summary": work.summary}) for work in works]

    def _round(self, works: Sequence[_Work]) -> None:
        """Summarize every part once. What had one part is done; the others' summaries become their next text."""
        limits = [self._limit(work, part) for work in works for part in work.parts]
        texts = iter(self._generate([part for work in works for part in work.parts], limits))
        for work in works:
            summaries = [next(texts) for _ in work.parts]
            if len(summaries) == 1:
                work.summary = summaries[0]
            else:
                [joined] = self._tokenizer.tokenize([" ".join(summaries)])
                work.parts = list(chunks(joined, self._room))

    def _limit(self, work: _Work, part: Sequence[int]) -> int:
        """Most tokens of one part's summary; before the last round few enough that the next has less to read."""
        asked = work.most_tokens if len(work.parts) == 1 else min(work.most_tokens, self._room // 4)
        return min(asked, max(_SHORTEST_ANSWER, len(part) // 2)) if len(work.parts) == 1 else asked

    def _generate(self, parts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[str]:
        """The summary of each part, of at most its limit in tokens."""
        rows = [Row([*self._prompt.before, *part, *self._prompt.after], (), len(part)) for part in parts]
        answers = [""] * len(rows)
        sizes = [len(row.ids) + limit for row, limit in zip(rows, limits, strict=True)]
        for indices in passes(sizes, self._token_budget):
            group = [rows[index] for index in indices]
            for index, ids in zip(indices, self._run(group, max(limits[index] for index in indices)), strict=True):
                answers[index] = tidy(self._tokenizer.decode(ids[: limits[index]]))
        return answers

    def _run(self, rows: Sequence[Row], most: int) -> Iterator[list[int]]:
        """Generate for one pass. A causal model continues its row, so rows are padded on the left."""
        inputs = pad(rows, self._tokenizer.pad_id, "left" if self._causal else "right")
        with torch.inference_mode():
            ids: Tensor = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                generation_config=self._settings(most),
            )
        start = inputs["input_ids"].shape[1] if self._causal else 1  # a decoder's first token is its start token
        yield from ids[:, start:].tolist()

    def _settings(self, most: int) -> Any:
        """The artifact's own settings without sampling, and with limits that agree with each other."""
        settings = copy.deepcopy(self._model.generation_config)
        settings.update(do_sample=False, temperature=None, top_p=None, top_k=None, max_length=None, max_new_tokens=most)
        settings.update(min_length=min(settings.min_length or 0, most // 2), min_new_tokens=None)
        settings.update(pad_token_id=self._tokenizer.pad_id)
        return settings


def make_prompt(tokenizer: TextTokenizer, artifact: Artifact) -> Prompt:
    """What goes around a text: a chat turn that asks for a summary, or what the kind of model was trained with.

    T5 names its prefix in `task_specific_params`; a language model without a chat template is prompted with `TL;DR:`
    (Radford et al., 2019).
    """
    if artifact.config.is_encoder_decoder:
        tasks = getattr(artifact.config, "task_specific_params", None) or {}
        prefix = tasks.get("summarization", {}).get("prefix") or ""
        return Prompt(*tokenizer.frame(f"{prefix}{_MARK}", _MARK))
    chat = tokenizer.chat(_INSTRUCTION, _MARK)
    if chat is None:
        return Prompt(*tokenizer.frame(f"{_MARK}\n\nTL;DR:", _MARK))
    before, after = chat.split(_MARK)
    return Prompt(tokenizer.control(before), tokenizer.control(after))


def tidy(text: str) -> str:
    """Drop repeated sentences, and a last one that is not finished, unless nothing else would be left."""
    sentences = list(dict.fromkeys(split_sentences(text)))
    if len(sentences) > 1 and sentences[-1][-1] not in ".!?…。！？\"'”’)":
        sentences.pop()
    return " ".join(sentences)
