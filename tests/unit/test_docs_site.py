"""The site of the documents: mkdocs with the project's settings refuses a page that is known to be bad."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.docs_site import fetched, slug, target
from tests.processes import REPOSITORY
from tests.unit.test_docs import anchors

REPOSITORY_URL = "https://git.example.com/millstream"
BAD_PAGE = """# A page

[no page](NOWHERE.md) [no heading](#no) [no code](../scripts/none.py) ![no picture](img/none.png) [absolute](/README.md)

<script src="https://cdn.example.com/x.js"></script>
"""
REFUSED = ("'NOWHERE.md'", "'#no'", "'../scripts/none.py'", "'img/none.png'", "'/README.md'", "from another host")


def test_a_page_that_is_wrong_fails_the_strict_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(BAD_PAGE, encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(
        f"INHERIT: {REPOSITORY}/docs/site/mkdocs.yml\nhooks: [{REPOSITORY}/scripts/docs_site.py]\n"
        "docs_dir: docs\nsite_dir: site\nnav: []\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(tmp_path / "mkdocs.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert [each for each in REFUSED if each not in done.stderr] == []


@pytest.mark.parametrize(
    ("here", "link", "leads_to"),
    [
        ("index.md", "docs/CLIENT.md", "CLIENT.md"),
        ("CLIENT.md", "../README.md", "index.md"),
        ("CLIENT.md", "img/api.png", "img/api.png"),
        ("k8s/chart/README.md", "../../docs/CLIENT.md", "../../CLIENT.md"),
        ("k8s/README.md", "chart/README.md", "chart/README.md"),
        ("CLIENT.md", "../models/cards", f"{REPOSITORY_URL}/tree/main/models/cards"),
        ("index.md", "LICENSE", f"{REPOSITORY_URL}/blob/main/LICENSE"),
        ("index.md", "CLIENT.md", "CLIENT.md"),  # is in docs/: refused, as it is nowhere on GitHub
    ],
)
def test_links_lead_to_the_site_or_to_the_repository(here: str, link: str, leads_to: str) -> None:
    on_site = {"index.md", "CLIENT.md", "img/api.png", "k8s/README.md", "k8s/chart/README.md"}
    assert target(here, link, on_site.__contains__, REPOSITORY_URL) == leads_to


@pytest.mark.parametrize("heading", ["Where do I change …", "`make up`, then?", "Open Inference Protocol v2"])
def test_anchors_are_those_of_github(heading: str) -> None:
    assert {slug(heading.replace("`", ""), "-")} == anchors(f"## {heading}")


def test_what_a_page_fetches_and_what_it_links_to() -> None:
    assert fetched('<p><img alt="x" src="//a.example/x.png"></p>') == '<img alt="x" src="//a.example/x.png">'
    assert fetched('<link href="https://fonts.example/css" rel="stylesheet">')
    assert fetched('<a href="https://a.example">x</a><img src="img/x.png"><script src=x.js></script>') is None
