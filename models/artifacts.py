"""What a built artifact is: a directory of pinned files, made in one step or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.packages import BuildError, say

ROOT = Path(__file__).resolve().parent
ARTIFACTS = ROOT / "artifacts"
_held: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one artifact is made.

    Attributes:
        name: its directory under `models/artifacts/`.
        files: every file it must have, with its sha256; None where the content depends on a library's version.
        megabytes: disk space that making it takes, downloads included.
        make: fills an empty directory; it may read the artifacts it needs under `ARTIFACTS`.
        needs: names of the artifacts to be built before.
    """

    name: str
    files: Mapping[str, str | None]
    megabytes: int
    make: Callable[[Path], None]
    needs: tuple[str, ...] = ()


def build(recipe: Recipe) -> bool:
    """Make an artifact if it is missing; True if something was done.

    Raises:
        BuildError: it cannot be made, or is not what the pinned hashes say.
    """
    target = ARTIFACTS / recipe.name
    if problem(recipe, target) is None:
        return False
    started = time.monotonic()
    say(f"building {recipe.name}")
    _check_disk(recipe)
    with tempfile.TemporaryDirectory(prefix=f".{recipe.name}-", dir=ARTIFACTS) as scratch:
        fresh = Path(scratch, recipe.name)
        fresh.mkdir()
        recipe.make(fresh)
        for file in fresh.rglob("*.*"):
            file.chmod(0o644 if file.is_file() else 0o755)  # safetensors writes 0600, and workers run as another user
        wrong = problem(recipe, fresh)
        if wrong is not None:
            raise BuildError(f"{recipe.name} was built, but {wrong}")
        if target.exists():
            target.rename(Path(scratch, "replaced"))
        fresh.rename(target)
    size = sum(file.stat().st_size for file in target.rglob("*")) / 1e6
    say(f"built {recipe.name} ({size:.0f} MB) in {time.monotonic() - started:.1f} s")
    return True


def problem(recipe: Recipe, directory: Path) -> str | None:
    """What is wrong with an artifact directory; None if it is what the recipe says."""
    for name, sha256 in recipe.files.items():
        file = directory / name
        if not file.is_file():
            return f"{name} is missing"
        if sha256 is not None and sha256_of(file) != sha256:
            return f"{name} is not the pinned file (its sha256 is {sha256_of(file)})"
    return None


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that is the same bytes each time."""
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def only_builder() -> Iterator[None]:
    """Hold the lock on the artifacts: a second build on this machine waits, then finds everything there.

    Who holds it already, in this process, goes on.
    """
    if ARTIFACTS in _held:
        yield
        return
    ARTIFACTS.mkdir(exist_ok=True)
    with (ARTIFACTS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _held.add(ARTIFACTS)
        try:
            yield
        finally:
            _held.discard(ARTIFACTS)


def _check_disk(recipe: Recipe) -> None:
    free = shutil.disk_usage(ARTIFACTS).free / 1e6
    if free < recipe.megabytes:
        raise BuildError(
            f"{recipe.name} takes {recipe.megabytes} MB to build and {free:.0f} MB are free: make room, then run again"
        )
