"""Task `text-generation`: a text goes on, or is answered if the model's tokenizer has a chat template.

The input is a text, or a chat: `{"messages": [{"role": "user", "content": "…"}]}`.

The result is `{"text", "finish_reason", "prompt_tokens", "new_tokens"}`; `finish_reason` is `stop` if the model or one
of `options.stop` ended the text, and `length` if it was cut off. The same request has the same answer, whatever else is
in its batch: without `options.temperature` the likeliest tokens are written, with it they are drawn by its seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.chats import chat_ids, messages_of
from inference_worker.tasks.decoding import RowSampler, RowStops, RowTexts, Wish, cut_at_stop, settled
from inference_worker.tasks.progress import UNTOLD, Telling
from inference_worker.tasks.protocol import Encoded, InvalidInput, Item, Output
from inference_worker.tasks.rows import passes
from inference_worker.tasks.tokens import TextTokenizer
from inference_worker.tasks.torch_models import load_model, moved
from shared.contract.errors import ConfigurationError

DEFAULT_MOST_TOKENS = 256  # as of transformers' pipeline
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
# Of the model's own settings those that are decided here, for each row by itself.
_DECIDED = {
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h"),
    *("num_beams", "num_beam_groups", "num_return_sequences", "max_length", "max_new_tokens", "min_length", "max_time"),
    *("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states"),
    *("stop_strings", "transformers_version", "pad_token_id"),
}
_Settings: Any = GenerationConfig  # has no types


class _Prompt(NamedTuple):
    ids: list[int]
    wish: Wish


class TextGeneration:
    """Any causal language model."""

    sample = Item("The bridge over the river", {"max_new_tokens": 4, "temperature": 0.7})

    def __init__(self, model: Any, tokenizer: TextTokenizer, token_budget: int) -> None:
        self._model, self._tokenizer, self._token_budget = model, tokenizer, token_budget
        # What the artifact says of generating is taken from the model, which would prefer it to what it is told.
        self._said, model.generation_config = model.generation_config.to_diff_dict(), _Settings()
        ends = self._said.get("eos_token_id", model.config.get_text_config().eos_token_id)
        self._ends = {ends} if isinstance(ends, int) else set(ends or ())

    @classmethod
    def load(cls, artifact: Artifact, token_budget: int) -> TextGeneration:
        """Load a causal language model.

        Raises:
            ConfigurationError: the artifact is of another kind.
        """
        if artifact.config.is_encoder_decoder or not artifact.architecture.endswith((*_CAUSAL,)):
            found = artifact.architecture or "unknown"
            raise ConfigurationError(f"{artifact.location} is no causal language model: its architecture is {found}")
        return cls(load_model("AutoModelForCausalLM", artifact), TextTokenizer.load(artifact), token_budget)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Tokenize; `data` is a prompt and how it is to go on.

        Raises:
            InvalidInput: it is no text and no chat, or leaves no room for an answer.
        """
        return [self._encode(item) for item in items]

    def predict(self, batch: Sequence[Encoded], progress: Telling = UNTOLD) -> list[Output]:
        """Write, prompts of like length together; no confidence. What is written so far is told as progress."""
        prompts: list[_Prompt] = [each.data for each in batch]
        # What must not be repeated would be looked for in the padding too: each is then computed alone.
        budget = 1 if self._said.get("no_repeat_ngram_size") else self._token_budget
        outputs: dict[int, Output] = {}
        for indices in passes([each.tokens for each in batch], budget):
            outputs.update(zip(indices, self._pass(indices, prompts, progress), strict=True))
        return [outputs[index] for index in range(len(batch))]

    def _encode(self, item: Item) -> Encoded:
        options, limit = item.options, self._tokenizer.limit
        ids = self._ids(item)
        most = min(options.get("max_new_tokens", DEFAULT_MOST_TOKENS), limit - len(ids))
        if most < 1:
            raise InvalidInput(
                f"the prompt has {len(ids)} tokens; a model that reads {limit} has no room for an answer"
            )
        wish = Wish(most, options.get("temperature", 0.0), options.get("seed", 0), tuple(options.get("stop", ())))
        return Encoded(len(ids) + most, _Prompt(ids, wish))

    def _ids(self, item: Item) -> list[int]:
        if self._tokenizer.raw.chat_template:
            thinking = bool(item.options.get("thinking", False))
            return chat_ids(self._tokenizer, messages_of(item.input), thinking)
        if isinstance(item.input, dict):
            raise InvalidInput("must be a text: the model has no chat template")
        [text] = self._tokenizer.tokenize([item.text])
        return list(self._tokenizer.row(text.ids).ids)

    def _pass(self, indices: Sequence[int], of_all: Sequence[_Prompt], progress: Telling) -> Iterator[Output]:
        prompts = [of_all[index] for index in indices]
        longest = max(len(prompt.ids) for prompt in prompts)
        # Padding is masked; it is a token of the row itself, so that no penalty for repeating meets any other.
        ids = torch.tensor([[prompt.ids[0]] * (longest - len(prompt.ids)) + prompt.ids for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts])
        wishes = [prompt.wish for prompt in prompts]
        stops = RowStops(wishes, longest, self._tokenizer.raw, lambda row: progress.stopped(indices[row]))

        def tell(row: int, written: Sequence[int]) -> None:
            text, _ = self._text(written[: stops.lengths[row]])
            progress(indices[row], text=settled(text, wishes[row].stop))

        texts = RowTexts(longest, lambda row: progress.due(indices[row]), tell)
        inputs = moved({"input_ids": ids, "attention_mask": mask}, self._model.device)
        with torch.inference_mode():
            written: Tensor = self._model.generate(
                **inputs,
                generation_config=self._settings(max(wish.most for wish in wishes)),
                logits_processor=[RowSampler(wishes, self._said)],
                stopping_criteria=[stops, texts],
            )
        for prompt, row, length in zip(prompts, written[:, longest:].tolist(), stops.lengths, strict=True):
            yield self._output(prompt, row[:length])

    def _settings(self, most: int) -> Any:
        said = {name: value for name, value in self._said.items() if name not in _DECIDED}
        ends = sorted(self._ends) or None
        return _Settings(
            **said | {"max_new_tokens": most, "eos_token_id": ends, "pad_token_id": self._tokenizer.pad_id}
        )

    def _text(self, written: Sequence[int]) -> tuple[str, int | None]:
        """What is written, and the place of the token that ends it; None if there is none."""
        end = next((at for at, token in enumerate(written) if token in self._ends), None)
        return str(self._tokenizer.raw.decode(written[:end], skip_special_tokens=True)).replace("\0", "\ufffd"), end

    def _output(self, prompt: _Prompt, written: Sequence[int]) -> Output:
        text, end = self._text(written)
        answer = cut_at_stop(text, prompt.wish.stop)
        finished = end is not None or answer != text
        counts = {"prompt_tokens": len(prompt.ids), "new_tokens": len(written) if end is None else end + 1}
        return Output({"text": answer, "finish_reason": "stop" if finished else "length", **counts})
