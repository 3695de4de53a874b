"""Write the report of the kept runs: `python -m tests.load.report`; `--plots` draws its pictures too."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.load.report.figures import Run
from tests.load.report.panels import PANELS
from tests.load.report.parts import PARTS
from tests.processes import REPOSITORY

DOCUMENTS = tuple(REPOSITORY / name for name in ("README.md", "docs/PERFORMANCE.md", "docs/SCALING.md"))
RUNS = REPOSITORY / "docs" / "performance"
TITLES = {
    "queue_path": "Queue path: a model that does nothing; medians of the rounds, bars from the least to the greatest",
    "inference_path": "Inference path: sentiment; medians of the rounds, bars from the least to the greatest",
}


def kept(name: str) -> list[Run]:
    """The runs under a name, none if there is no such file."""
    path = RUNS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def picture(name: str) -> Path:
    """Where the picture of a path is."""
    return REPOSITORY / "docs" / "img" / f"performance-{name.replace('_', '-')}.svg"


def parts() -> dict[str, Sequence[str]]:
    """All parts of the report, by the names of their marks."""
    runs = {part.runs: kept(part.runs) for part in PARTS.values()}
    return {name: _part(name, runs[part.runs]) for name, part in PARTS.items()}


def _part(name: str, runs: Sequence[Run]) -> list[str]:
    if not runs:
        return ["No run is kept yet."]
    lines = PARTS[name].made(runs)
    if name in PANELS:
        table = next(number for number, line in enumerate(lines) if line.startswith("|"))
        lines[table:table] = [f"![{TITLES[name]}](img/{picture(name).name})", ""]
    return lines


def written(document: str, parts: Mapping[str, Sequence[str]]) -> str:
    """The document with its parts replaced, each between its marks."""
    for name, lines in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = "\n".join([begin, "", *lines, "", end])
        document = pattern.sub(text.replace("\\", r"\\"), document)
    return document


def report() -> dict[Path, str]:
    """The documents as they should be."""
    made = parts()
    return {path: written(path.read_text(encoding="utf-8"), made) for path in DOCUMENTS}


def main() -> int:
    """Write the report; with `--check` the exit code says whether it is that of the runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.report", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--plots", action="store_true", help="draw, too: needs the extra `preview`")
    parsed = parser.parse_args()
    if parsed.check:
        return 0 if all(path.read_text(encoding="utf-8") == text for path, text in report().items()) else 1
    if parsed.plots:
        from tests.load.report.plot import draw  # matplotlib is of the extra `preview` alone

        for name, made in PANELS.items():
            if runs := kept(name):
                draw(made(runs), TITLES[name], picture(name))
    for path, text in report().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
