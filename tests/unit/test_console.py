"""The files of the console: how large they are, and what they refer to."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import gateway.console
from gateway.console.page import load_console

STATIC = Path(gateway.console.__file__).parent / "static"
MOST_BYTES = 60_000
# Names of XML, which nobody fetches.
_NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink")


def test_all_of_it_is_small() -> None:
    console = load_console()
    packed = sum(len(each.packed) for each in (console.page, *console.files.values()))
    assert packed < MOST_BYTES, f"{packed} bytes, packed"
    assert all(gzip.decompress(each.packed) == each.plain for each in console.files.values())


def test_nothing_comes_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        for each in _NAMESPACES:
            text = text.replace(each, "")
        assert not re.search(r"(https?|wss?)://|[\"'(]//", text), path.name


def test_every_file_that_is_asked_for_is_there() -> None:
    console = load_console()
    named = {path.rpartition("/")[2] for path in console.files}
    page = console.page.plain.decode()
    assert set(re.findall(r'(?:src|href)="(/console/[^"]+)"', page)) <= console.files.keys()
    for path, file in console.files.items():
        if path.endswith(".js"):
            imported = re.findall(r'from "\./([^"]+)"', file.plain.decode())
            assert set(imported) <= named, path


def test_nothing_is_made_markup_or_run_from_a_text() -> None:
    for path in STATIC.glob("*.js"):
        if path.name != "preact-htm.js":  # of others; the policy of the page keeps it from both
            text = path.read_text(encoding="utf-8")
            forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|Storage\b"
            assert not re.search(forbidden, text), path.name


def test_the_files_of_others_are_what_their_licences_say() -> None:
    licences = (STATIC / "LICENSES.md").read_text(encoding="utf-8")
    assert "htm 3.1.1 (Apache License 2.0" in licences and "MIT License" in licences
