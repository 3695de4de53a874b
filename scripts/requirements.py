"""What the project and the extras named need, with all that this needs, pinned and with hashes: for the images.

`python -m scripts.requirements worker models` prints it as pip takes it. Versions, hashes and who needs whom stand in
hashes.txt (`make hashes`). torch is left out: its builds for the CPU come from PyTorch's index, and are other files
than those of the default index.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HASHES = ROOT / "scripts" / "hashes.txt"
_PIN = re.compile(r"^([\w.-]+)==\S+(?: \\\n    --hash=sha256:[0-9a-f]{64})+$", re.MULTILINE)
_VIA = re.compile(r"^    #(?: via|  ) ([\w.-]+)$", re.MULTILINE)


class Pinned(NamedTuple):
    """A package: its lines as pip takes them, and the packages that need it."""

    lines: str
    needed_by: frozenset[str]


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


def normal(requirement: str) -> str:
    """The name of a requirement's package as indexes write it."""
    name = re.split(r"[\[=<>!~; ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(text: str) -> dict[str, Pinned]:
    """The packages of hashes.txt by name."""
    pins = list(_PIN.finditer(text))
    ends = [each.start() for each in pins[1:]] + [len(text)]
    return {
        normal(pin[1]): Pinned(pin[0], frozenset(map(normal, _VIA.findall(text[pin.end() : end]))))
        for pin, end in zip(pins, ends, strict=True)
    }


def closure(packages: Mapping[str, Pinned], roots: set[str]) -> list[str]:
    """The names of what the roots need, sorted; a root that is not among the packages (torch) has needs too."""
    found = set(roots)
    while new := {name for name, each in packages.items() if each.needed_by & found} - found:
        found |= new
    return sorted(found & packages.keys())


def main() -> int:
    """Print them."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = pinned(HASHES.read_text(encoding="utf-8"))
    for name in closure(packages, set(map(normal, requirements(pyproject, sys.argv[1:])))):
        print(packages[name].lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
