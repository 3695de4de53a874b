"""Summaries written by a model: an encoder-decoder (T5, BART) or a causal language model, chat template or not.

How it writes is what the artifact says: its generation settings, and `task_specific_params.summarization` before them;
an encoder-decoder that says nothing writes as in transformers' pipeline, by four beams and at most 256 tokens. Nothing
is drawn by chance: the same text has the same summary, whatever else is in its batch. A text longer than the model
reads well is summarized in parts, then the parts' summaries together, over as many rounds as it takes (map and
reduce, hierarchically); every token of it is read. A sentence that the limit cut off is dropped, as is one that
repeats another. What nobody wants any more is left between tokens, passes and rounds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.chats import without_thought
from inference_worker.tasks.decoding import UnwantedPass
from inference_worker.tasks.hub import words
from inference_worker.tasks.progress import UNTOLD, Telling
from inference_worker.tasks.protocol import Encoded, InvalidInput, Item, Output
from inference_worker.tasks.rows import Row, pad, passes
from inference_worker.tasks.sentences import split_sentences
from inference_worker.tasks.summary_prompts import Prompt, make_prompt
from inference_worker.tasks.tokens import TextTokenizer, chunks
from inference_worker.tasks.torch_models import load_model, moved
from shared.contract.errors import ConfigurationError

DEFAULT_MOST_TOKENS = 96  # of a language model that says nothing
_DEFAULT_BEAMS, _DEFAULT_NEW_TOKENS = 4, 256  # of transformers' pipeline, for encoder-decoders
_Settings: Any = GenerationConfig  # has no types
# Of the artifact's settings those that are decided here, are drawn by chance, or change what `generate` returns.
_DECIDED = {
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h"),
    *("max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time", "stop_strings"),
    *("num_return_sequences", "return_dict_in_generate", "output_scores", "output_logits", "output_attentions"),
    *("output_hidden_states", "num_beam_groups", "diversity_penalty", "penalty_alpha", "dola_layers", "constraints"),
    *("force_words_ids", "prompt_lookup_num_tokens", "assistant_early_exit", "pad_token_id", "transformers_version"),
    *("prefix", "_from_model_config"),
}
_LONGEST_PART = 2048  # tokens: beyond it small models lose the thread, and attention grows with the square
_SHORTEST_ANSWER = 16  # tokens: room for one short sentence, even if half the text is less


class Length(NamedTuple):
    """How long a summary is: tokens at most and at least, counted as `generate` counts new ones.

    Attributes:
        chosen: whether somebody chose it; otherwise it is also at most half of the text.
    """

    most: int
    least: int
    chosen: bool = True


class _Part(NamedTuple):
    """Token ids to summarize, and whether nobody wants that any more."""

    ids: Sequence[int]
    length: Length
    thinking: bool = False
    stopped: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class _Work:
    """A text on its way to its summary: the parts still to be summarized, in order."""

    parts: list[Sequence[int]]
    length: Length
    thinking: bool
    stopped: Callable[[], bool]
    summary: str | None = None


class GenerativeSummarization:
    """Summaries in the model's own words, which may be wrong: such a model can invent facts."""

    def __init__(
        self, model: Any, tokenizer: TextTokenizer, prompts: Mapping[bool, Prompt], token_budget: int, sample: Item
    ) -> None:
        self.sample = sample
        self._model, self._tokenizer, self._token_budget = model, tokenizer, token_budget
        self._prompts = prompts
        self._causal = not model.config.is_encoder_decoder
        # What the artifact says of generating is taken from the model, which would prefer it to what it is told.
        self._said = _said(model)
        model.generation_config = _Settings()
        ends = self._said.get("eos_token_id", model.config.get_text_config().eos_token_id)
        self._ends = {ends} if isinstance(ends, int) else set(ends or ())
        reserved = tokenizer.limit // 4 if self._causal else 0  # a causal model writes into the same context it reads
        self._room = min(_LONGEST_PART, tokenizer.limit - max(each.size for each in prompts.values()) - reserved)
        self._most_tokens = reserved or 512
        if self._room < 32:
            raise ConfigurationError(f"a model that reads {tokenizer.limit} tokens has no room for a text to summarize")

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int, sample: Item) -> GenerativeSummarization:
        """Load an encoder-decoder or a causal language model, whichever the configuration says it is.

        Raises:
            ConfigurationError: it has no room for a text, cannot write, or another engine than torch is wanted.
        """
        if artifact.engine != "torch":
            raise ConfigurationError(
                f"{artifact.location} writes its answers: engine {artifact.engine} cannot, torch can"
            )
        kind = "AutoModelForSeq2SeqLM" if artifact.config.is_encoder_decoder else "AutoModelForCausalLM"
        tokenizer = TextTokenizer.load(artifact)
        model = load_model(kind, artifact)
        prompts = {thinking: make_prompt(tokenizer, artifact, thinking) for thinking in (False, True)}
        made = cls(model, tokenizer, prompts, token_budget, sample)
        try:
            made._generate([_Part(tokenizer.tokenize([sample.text])[0].ids[: made._room], Length(2, 0))])
        except (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError, ImportError) as error:
            raise ConfigurationError(
                f"{artifact.location} cannot write with its generation settings: {words(error)}"
            ) from error
        return made

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is (parts of the text as token ids, the summary's length, whether the model is to think).

        Raises:
            InvalidInput: a summary is to be longer at least than at most.
        """
        encoded = []
        for item, text in zip(items, self._tokenizer.tokenize([item.text for item in items]), strict=True):
            parts, thinking = chunks(text, self._room), bool(item.options.get("thinking"))
            longest = max(map(len, parts)) + self._prompts[thinking].size
            encoded.append(Encoded(longest, (parts, self._length(item.options), thinking), len(parts)))
        return encoded

    def predict(self, batch: Sequence[Encoded], progress: Telling = UNTOLD) -> list[Output]:
        """Summarize, round by round, parts of all texts together; no confidence."""
        works = [
            _Work(list(parts), length, thinking, partial(progress.stopped, place))
            for place, (parts, length, thinking) in enumerate(each.data for each in batch)
        ]
        while pending := [work for work in works if work.summary is None and not work.stopped()]:
            self._round(pending)
        return [Output({"summary": work.summary or ""}) for work in works]

    def _length(self, options: Mapping[str, Any]) -> Length:
        """The request's, else the artifact's. Those of an encoder-decoder count the token it starts with."""
        start, said = 0 if self._causal else 1, self._said
        asked, least = options.get("max_length"), options.get("min_length")
        if asked is not None and least is not None and least > asked:
            raise InvalidInput(f"options.min_length: {least} is more than max_length, {asked}")
        own = said.get("max_new_tokens") or (said["max_length"] - start if said.get("max_length") else None)
        default = DEFAULT_MOST_TOKENS if self._causal else _DEFAULT_NEW_TOKENS
        most = max(1, min(asked - start if asked else own or default, self._most_tokens))
        if least is None:
            least = said.get("min_new_tokens") or max(0, (said.get("min_length") or 0) - start)
            least = least if least <= most else most // 2
        else:
            least = min(least - start, most)
        return Length(most, least, chosen=not self._causal or bool(asked or own))

    def _round(self, works: Sequence[_Work]) -> None:
        """Summarize every part once. What had one part is done; the others' summaries become their next text."""
        parts = [
            _Part(part, self._limit(work, part), work.thinking, work.stopped) for work in works for part in work.parts
        ]
        texts = iter(self._generate(parts))
        for work in works:
            summaries = [next(texts) for _ in work.parts]
            if len(summaries) == 1:
                work.summary = summaries[0]
            else:
                [joined] = self._tokenizer.tokenize([" ".join(summaries)])
                work.parts = list(chunks(joined, self._room))

    def _limit(self, work: _Work, part: Sequence[int]) -> Length:
        """Of one part's summary; before the last round few enough tokens that the next has less to read."""
        most, least, chosen = work.length
        if len(work.parts) > 1:
            most = min(most, self._room // 4)
        elif not chosen:
            most = min(most, max(_SHORTEST_ANSWER, len(part) // 2))
        return Length(most, min(least, most))

    def _generate(self, parts: Sequence[_Part]) -> list[str]:
        """The summary of each part; of those that nobody wants any more it is empty, or none."""
        answers = [""] * len(parts)
        for indices in self._passes(parts):
            wanted = [index for index in indices if not parts[index].stopped()]
            own = [parts[index] for index in wanted]
            for index, part, ids in zip(wanted, own, self._run(own) if own else (), strict=True):
                end = next((at for at, token in enumerate(ids) if token in self._ends), None)
                text = self._tokenizer.decode(ids[: min(part.length.most, len(ids) if end is None else end)])
                answers[index] = tidy(without_thought(text) if part.thinking else text)
        return answers

    def _passes(self, parts: Sequence[_Part]) -> Iterator[list[int]]:
        """Which are written together: beams, and the least length, depend on the limits of the whole pass."""
        said = self._said
        together = self._causal and said.get("num_beams", 1) == 1
        padded = ("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "encoder_repetition_penalty")
        alone = any(said.get(name) for name in padded[0 if self._causal else 1 :])  # these would look at the padding
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, part in enumerate(parts):
            groups[(0 if together else part.length.most, part.length.least)].append(index)
        for group in groups.values():
            sizes = [len(self._row(parts[index]).ids) + parts[index].length.most for index in group]
            for places in passes(sizes, 1 if alone else self._token_budget):
                yield [group[place] for place in places]

    def _row(self, part: _Part) -> Row:
        prompt = self._prompts[part.thinking]
        return Row([*prompt.before, *part.ids, *prompt.after], (), len(part.ids))

    def _run(self, parts: Sequence[_Part]) -> Iterator[list[int]]:
        """Generate for one pass. A causal model continues its row, so rows are padded on the left."""
        rows = [self._row(part) for part in parts]
        padded = pad(rows, self._tokenizer.pad_id, "left" if self._causal else "right")
        inputs = moved(padded, self._model.device)
        length = Length(max(part.length.most for part in parts), parts[0].length.least)
        with torch.inference_mode():
            ids: Tensor = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                generation_config=self._settings(length),
                stopping_criteria=[UnwantedPass(len(parts), lambda row: parts[row].stopped())],
            )
        start = inputs["input_ids"].shape[1] if self._causal else 1  # a decoder's first token is its start token
        yield from ids[:, start:].tolist()

    def _settings(self, length: Length) -> Any:
        """The artifact's own settings, with these limits."""
        said = {name: value for name, value in self._said.items() if name not in _DECIDED}
        filler = self._tokenizer.pad_id if self._tokenizer.pad_id is not None else min(self._ends, default=0)
        said |= {"eos_token_id": sorted(self._ends) or None, "pad_token_id": filler}
        if self._causal:
            limits = {"max_new_tokens": length.most, "min_new_tokens": length.least or None}
        else:
            limits = {"max_new_tokens": length.most, "min_length": length.least + 1 if length.least else 0}
        return _Settings(**said, **limits)


def _said(model: Any) -> dict[str, Any]:
    """What the artifact says of generating summaries."""
    said = dict(model.generation_config.to_diff_dict())
    if not model.config.is_encoder_decoder:
        return said
    own = (getattr(model.config, "task_specific_params", None) or {}).get("summarization") or {}
    if "max_length" in own:
        said.pop("max_new_tokens", None)
    return {"num_beams": _DEFAULT_BEAMS, **said, **own}


def tidy(text: str) -> str:
    """Drop repeated sentences, and a last one that is not finished, unless nothing else would be left."""
    sentences = list(dict.fromkeys(split_sentences(text)))
    if len(sentences) > 1 and sentences[-1][-1] not in ".!?…。！？\"'”’)":
        sentences.pop()
    return " ".join(sentences)
