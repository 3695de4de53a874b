"""The kits of `kits.toml`, and where what they bring is found. Nothing is installed here."""

from __future__ import annotations

import functools
import hashlib
import platform
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "tools"


class ToolMissing(Exception):
    """A tool is not installed; the message says how to get it."""


@dataclass(frozen=True)
class Kit:
    """Tools that are installed as one thing.

    Attributes:
        kind: which installer makes it.
        packages: requirements at exact versions.
        programs: path in the kit by name of the program.
        constraints: a file that pins what the packages need.
        optional: installed only if it is named.
    """

    name: str
    kind: str
    packages: tuple[str, ...]
    programs: Mapping[str, str]
    constraints: Path | None = None
    optional: bool = False

    def digest(self) -> str:
        """Changes with whatever changes the installed kit; programs hold their own path, so a moved copy is another."""
        pins = self.constraints.read_text(encoding="utf-8") if self.constraints else ""
        facts = (self.kind, *self.packages, pins, platform.python_version(), platform.machine(), str(ROOT))
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]

    def folder(self, cache: Path = CACHE) -> Path:
        """Where it is, or will be."""
        return cache / f"{self.name}-{self.digest()}"

    def installed(self, cache: Path = CACHE) -> bool:
        """Whether it is complete."""
        return (self.folder(cache) / ".installed").exists()

    def program(self, name: str, cache: Path = CACHE) -> Path:
        """The path of one of its programs.

        Raises:
            ToolMissing: the kit has no such file.
        """
        found = sorted(self.folder(cache).glob(self.programs[name]))
        if not found:
            raise ToolMissing(f"{self.folder(cache)} has no {self.programs[name]}: remove the folder, then make tools")
        return found[0]


@functools.cache
def kits(path: Path = HERE / "kits.toml") -> dict[str, Kit]:
    """All kits by name."""
    made = {}
    for name, facts in tomllib.loads(path.read_text(encoding="utf-8")).items():
        constraints = path.parent / "constraints" / f"{name}.txt"
        made[name] = Kit(
            name=name,
            kind=facts["kind"],
            packages=tuple(facts["packages"]),
            programs=facts["programs"],
            constraints=constraints if constraints.exists() else None,
            optional=facts.get("optional", False),
        )
    return made


def kit_of(program: str) -> Kit | None:
    """The kit that brings a program."""
    return next((kit for kit in kits().values() if program in kit.programs), None)


def find(program: str, get: str = "", cache: Path = CACHE) -> Path:
    """Where a program is: in its kit, else on PATH.

    Args:
        get: how to get one that no kit brings.

    Raises:
        ToolMissing: it is nowhere.
    """
    kit = kit_of(program)
    if kit is not None and kit.installed(cache):
        return kit.program(program, cache)
    on_path = shutil.which(program)
    if on_path is not None:
        return Path(on_path)
    how = f"make tools installs it (or only its kit: python -m scripts.tools {kit.name})" if kit else get
    raise ToolMissing(f"{program} is not installed. {how}")
