"""What a model that writes summaries is told around a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference_worker.tasks.artifacts import Artifact
from inference_worker.tasks.chats import rendered
from inference_worker.tasks.protocol import InvalidInput
from inference_worker.tasks.tokens import TextTokenizer

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


def make_prompt(tokenizer: TextTokenizer, artifact: Artifact, thinking: bool = False) -> Prompt:
    """What goes around a text: a chat turn that asks for a summary, or what the kind of model was trained with.

    T5 names its prefix in `task_specific_params`; a language model without a chat template is prompted with `TL;DR:`
    (Radford et al., 2019).
    """
    if artifact.config.is_encoder_decoder:
        tasks = getattr(artifact.config, "task_specific_params", None) or {}
        prefix = (tasks.get("summarization") or {}).get("prefix") or getattr(artifact.config, "prefix", None) or ""
        return Prompt(*tokenizer.frame(f"{prefix}{_MARK}", _MARK))
    if not tokenizer.raw.chat_template:
        return Prompt(*tokenizer.frame(f"{_MARK}\n\nTL;DR:", _MARK))
    turns = [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": _MARK}]
    try:
        chat = rendered(tokenizer.raw, turns, thinking)
    except InvalidInput:  # it knows no system turns
        chat = rendered(tokenizer.raw, [{"role": "user", "content": f"{_INSTRUCTION}\n\n{_MARK}"}], thinking)
    before, _, after = chat.partition(_MARK)
    return Prompt(tokenizer.control(before), tokenizer.control(after))
