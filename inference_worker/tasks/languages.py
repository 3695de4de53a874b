"""How a translation model is told its languages.

Models of many languages have a code for each (NLLB, mBART, M2M100), which stands beside what they read and in front of
what they write. T5 is told in words, which its configuration names for each pair. Others know one source language, and
either one target or several with a mark for each (Marian: `>>fra<<`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inference_worker.tasks.protocol import InvalidInput

_CODE = re.compile(r"[a-z]{2,3}_[A-Za-z]{2,4}")
_PAIR = re.compile(r"translation_(\w+)_to_(\w+)")
_MOST_NAMED = 20


class Direction(NamedTuple):
    """From which language to which.

    Attributes:
        source: the code that the tokenizer is told; None if it needs none.
        first_token: what the translation begins with; None for whatever the model says.
        prefix: stands before each part of a text.
        settings: of generating, in place of the model's own.
    """

    source: str | None = None
    first_token: int | None = None
    prefix: str = ""
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class CodedLanguages:
    """A code for each language; what the tokenizer's own configuration names need not be said.

    Attributes:
        sample: options to warm up with; so below.
    """

    codes: Mapping[str, int]
    source: str | None
    target: str | None

    @property
    def sample(self) -> Mapping[str, str]:
        first, *_, last = self.codes
        return {"src_lang": self.source or first, "tgt_lang": self.target or last}

    def direction(self, source: str | None, target: str | None) -> Direction:
        """What a request's languages mean for this model.

        Raises:
            InvalidInput: the model does not know them, or must be told.
        """
        source = self._known("src_lang", source or self.source)
        return Direction(source, self.codes[self._known("tgt_lang", target or self.target)])

    def _known(self, option: str, code: str | None) -> str:
        if code in self.codes:
            return str(code)
        wrong = f"not {code!r}" if code else "and must be given"
        raise InvalidInput(f"options.{option} is one of {_named(list(self.codes))}, {wrong}")


@dataclass(frozen=True)
class PrefixedLanguages:
    """Words for each pair; if there is one pair, it need not be said."""

    pairs: Mapping[tuple[str, str], Mapping[str, Any]]

    @property
    def sample(self) -> Mapping[str, str]:
        source, target = next(iter(self.pairs))
        return {"src_lang": source, "tgt_lang": target}

    def direction(self, source: str | None, target: str | None) -> Direction:
        """As of `CodedLanguages`."""
        fitting = [pair for pair in self.pairs if source in (None, pair[0]) and target in (None, pair[1])]
        if len(fitting) != 1:
            known = _named([f"{one} to {other}" for one, other in self.pairs])
            raise InvalidInput(f"options.src_lang and tgt_lang must name one of the model's pairs: {known}")
        settings = dict(self.pairs[fitting[0]])
        return Direction(prefix=settings.pop("prefix", ""), settings=tuple(settings.items()))


@dataclass(frozen=True)
class OneSource:
    """One source language, and one target or several with a mark for each."""

    prefix: str
    targets: Sequence[str]

    @property
    def sample(self) -> Mapping[str, str]:
        return {"tgt_lang": self.targets[0]} if self.targets else {}

    def direction(self, source: str | None, target: str | None) -> Direction:
        """As of `CodedLanguages`."""
        if source is not None:
            raise InvalidInput("options.src_lang: the model has one source language: leave it out")
        if target is None:
            return Direction(prefix=self.prefix)
        if target not in self.targets:
            known = (
                f"is one of {_named(self.targets)}, not {target!r}" if self.targets else "has one value: leave it out"
            )
            raise InvalidInput(f"options.tgt_lang {known}")
        return Direction(prefix=f"{self.prefix}>>{target}<< ")


Languages = CodedLanguages | PrefixedLanguages | OneSource


def languages_of(tokenizer: Any, config: Any) -> Languages:
    """What a model knows, by its tokenizer and configuration."""
    if hasattr(tokenizer, "_build_translation_inputs"):
        said = tokenizer.init_kwargs
        return CodedLanguages(_codes(tokenizer), said.get("src_lang"), said.get("tgt_lang"))
    tasks = getattr(config, "task_specific_params", None) or {}
    pairs = {(found[1], found[2]): params for name, params in tasks.items() if (found := _PAIR.fullmatch(name))}
    if pairs:
        return PrefixedLanguages(pairs)
    targets = [mark.strip("<>") for mark in getattr(tokenizer, "supported_language_codes", ())]
    return OneSource(getattr(config, "prefix", None) or "", targets)


def _codes(tokenizer: Any) -> dict[str, int]:
    known = getattr(tokenizer, "lang_code_to_id", None)
    if known:
        return dict(known)
    added = tokenizer.get_added_vocab()
    return {token: index for token, index in sorted(added.items()) if _CODE.fullmatch(token)}


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    return f"{shown} and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else shown
