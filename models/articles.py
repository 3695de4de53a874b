"""The articles that summaries are checked on, each with the facts a summary of it must hold."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

from models.artifacts import ROOT

_DIRECTORY = ROOT.parent / "tests" / "fixtures" / "articles"


@dataclass(frozen=True, slots=True)
class Article:
    """An article and what a summary of it must say.

    Attributes:
        title: what it is called, for reports.
        text: the article, sentences in paragraphs.
        facts: strings that a good summary holds.
    """

    title: str
    text: str
    facts: tuple[str, ...]


def load_articles() -> list[Article]:
    """All of them, in the order of their file names."""
    contents = [tomllib.loads(file.read_text(encoding="utf-8")) for file in sorted(_DIRECTORY.glob("*.toml"))]
    return [Article(each["title"], each["text"].strip(), tuple(each["facts"])) for each in contents]
