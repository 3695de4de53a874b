"""`python -m scripts.kubernetes [--write]`: is what is made here current? Or make it anew.

The plain manifests (k8s/*.yaml), the chart's values.schema.json and the tables in its README.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.kubernetes import plain, room, values_schema, values_table
from scripts.kubernetes.chart import RenderingFailed
from scripts.markers import between
from scripts.tools.kit import ROOT, ToolMissing


def documentation() -> dict[Path, str]:
    """The chart's README, with what the values are and what room they need."""
    table = values_table.table(values_table.VALUES.read_text(encoding="utf-8"))
    document = values_table.readme(values_table.README.read_text(encoding="utf-8"), table)
    return {values_table.README: between(document, room.BEGIN, room.table(), room.END)}


def write(made: dict[Path, str]) -> None:
    """Write files."""
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Compare, or write; the exit code says whether all is current."""
    parser = argparse.ArgumentParser(prog="python -m scripts.kubernetes", description=__doc__)
    parser.add_argument("--write", action="store_true", help="make the files anew")
    writing = parser.parse_args(arguments).write
    made = {values_schema.FILE: values_schema.text()}
    try:
        if writing:  # helm reads the schema: it comes before what is rendered
            write(made)
        made |= documentation()
        manifests = plain.manifests()
    except (RenderingFailed, ToolMissing) as why:
        print(why, file=sys.stderr)
        return 1
    if writing:
        write(made)
        plain.write(manifests)
        return 0
    there = plain.present() | {path: path.read_text(encoding="utf-8") if path.exists() else "" for path in made}
    made |= manifests
    stale = sorted(path for path in made.keys() | there.keys() if made.get(path) != there.get(path))
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not what would be made: make manifests", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
