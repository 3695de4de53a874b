"""The snippets of docs/EXAMPLES.md, by heading and language, for the tests that run them: each is run by one of these.

`tests/unit/test_examples.py` runs those that need no service, and holds that none is forgotten.
"""

from __future__ import annotations

import re

from tests.processes import REPOSITORY

PIPELINE = (  # tests/integration/test_client_docs.py
    *("The label of a text", "Follow a prediction", "Score a file", "Without a package"),
    *("An answer in time, or none", "A nightly run, found again by its tag", "In a web service"),
    "Two versions in an experiment",
)
OTHER_CLIENTS = ("Search by meaning, with openai",)  # tests/e2e/test_protocol_clients.py
ALONE = ("A receiver of callbacks", "A model of your own in ten lines", "A model of scikit-learn")

_SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_SNIPPET = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> dict[str, list[tuple[str, str]]]:
    """Language and text of each snippet, by heading."""
    text = (REPOSITORY / "docs" / "EXAMPLES.md").read_text(encoding="utf-8")
    return {heading: _SNIPPET.findall(section) for heading, section in _SECTION.findall(text)}


def snippets(heading: str, language: str) -> list[str]:
    """The snippets of a language below a heading."""
    return [text for each, text in examples()[heading] if each == language]
