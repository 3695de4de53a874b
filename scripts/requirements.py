"""What the project and the extras named need, one requirement a line: `python -m scripts.requirements worker models`.

For image layers that hold the packages and not yet the project, so that a change of code does not install them anew.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def requirements(pyproject: Mapping[str, Any], extras: Sequence[str]) -> list[str]:
    """The project's requirements and those of the extras, sorted, each once.

    Raises:
        KeyError: there is no such extra.
    """
    project = pyproject["project"]
    wanted = set(project["dependencies"])
    for extra in extras:
        wanted.update(project["optional-dependencies"][extra])
    return sorted(wanted)


def main() -> int:
    """Print them."""
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    print("\n".join(requirements(tomllib.loads(pyproject.read_text(encoding="utf-8")), sys.argv[1:])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
