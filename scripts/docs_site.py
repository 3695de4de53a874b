"""The hooks of docs/site/mkdocs.yml: the site is laid out otherwise than the repository, and asks no other host."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {  # what does not lie in docs/, by where the site has it
    "index.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "models/README.md": "models/README.md",
    "k8s/README.md": "k8s/README.md",
    "k8s/chart/README.md": "k8s/chart/README.md",
    "site/icon.svg": "gateway/console/static/icon.svg",
}
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]+)")
_FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def slug(heading: str, separator: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", separator)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Anchors are GitHub's, so that a link leads to the same heading there and here."""
    config.mdx_configs["toc"]["slugify"] = slug
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What lies elsewhere joins docs/."""
    for place, path in ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links lead to the site's page of a file, or to the repository if there is none.

    In code of a table, GitHub reads `\\|` as `|`, and mkdocs does not.
    """
    here, places = page.file.src_uri, files.src_uris

    def lead(match: re.Match[str]) -> str:
        return f"]({target(here, match[1], places.__contains__, config.extra['repository'])}"

    pieces = _CODE.split(markdown)
    pieces[::2] = [_LINK.sub(lead, text) for text in pieces[::2]]
    pieces[1::2] = [code.replace(r"\|", "|") for code in pieces[1::2]]
    return "".join(pieces)


def target(here: str, link: str, on_site: Callable[[str], bool], repository: str) -> str:
    """Where a link of a page leads; one that leads nowhere stays as it is, for mkdocs to refuse.

    Args:
        here: the page, by its place on the site.
        on_site: whether something is at a place.
        repository: its URL.
    """
    path = posixpath.normpath(posixpath.join(posixpath.dirname(_in_repository(here)), link))
    place = next((place for place, file in ELSEWHERE.items() if file == path), None)
    if place is None and path.startswith("docs/"):
        place = path.removeprefix("docs/")
    if place is not None and on_site(place):
        return posixpath.relpath(place, posixpath.dirname(here) or ".")
    if not (ROOT / path).exists():
        return link
    return f"{repository}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"


def on_post_build(config: MkDocsConfig) -> None:
    """No page fetches anything of another host.

    Raises:
        PluginError: one does.
    """
    for path in Path(config.site_dir).rglob("*.html"):
        if (element := fetched(path.read_text(encoding="utf-8"))) is not None:
            raise PluginError(f"{path} fetches from another host: {element}")


def fetched(html: str) -> str | None:
    """The first element that a browser would fetch from another host."""
    found = _FETCHED.search(html)
    return found and found[0]


def _in_repository(place: str) -> str:
    return ELSEWHERE.get(place, f"docs/{place}")
