"""Packages that versions of the catalogue need besides those of Millstream: `python -m models.own_packages`.

`make models` and `make up` do it too. pip chooses what is missing here (what Millstream itself has stays as it is, at
its version) and puts it into a folder for these requirements alone, from which only the processes of that version
import.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from models.packages import BuildError, say
from shared.contract.catalogue import Catalogue
from shared.contract.errors import ConfigurationError
from shared.service.catalogue_file import load_catalogue
from shared.service.own_packages import folder_of

# What a worker has: with what these need, the packages that a version of its own never brings. (The same as in
# pyproject.toml, by test: an image does not have that file.)
OF_THE_WORKER = (
    *("aiohttp", "hiredis", "orjson", "prometheus-client", "pydantic", "pydantic-settings", "python-json-logger"),
    *(
        "redis",
        "uvloop",
        "numpy",
        "openvino",
        "pillow",
        "protobuf",
        "safetensors",
        "sentencepiece",
        "torch",
        "transformers",
    ),
)
_TAKEN_OUT = {"hf-xet", "pygments", "rich", "setuptools"}  # of its image, see scripts/image/install.sh
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
_SHIPPED = Path(__file__).resolve().parent / "models.toml"


def install_all(catalogue: Catalogue, wanted: str = "*") -> list[str]:
    """Install what is missing for each version; what could not be is said, and does not hold up the others.

    Args:
        wanted: which versions, as in WORKER_MODELS.

    Returns:
        The versions (`model:version`) whose packages could not be installed.
    """
    failed, tried = [], dict[Path, str]()
    for served in catalogue.select(wanted):
        requirements = served.version.requirements
        folder = folder_of(requirements, catalogue.directory)
        if not requirements or folder.exists():
            continue
        if folder not in tried:
            tried[folder] = _try(served.label, requirements, folder)
        if tried[folder]:
            failed.append(served.label)
    return failed


def install(requirements: Sequence[str], folder: Path) -> int:
    """Install requirements into a folder that is not there yet; returns how many packages were installed.

    Raises:
        BuildError: they do not exist, or do not fit what Millstream has.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".packages-", dir=folder.parent) as scratch:
        made = Path(scratch, "made")
        made.mkdir(mode=0o755)
        missing = _missing(requirements, Path(scratch))
        if missing:
            _pip("install", "--no-deps", "--target", str(made), *missing)
        made.rename(folder)
    return len(missing)


def _try(label: str, requirements: Sequence[str], folder: Path) -> str:
    started = time.monotonic()
    say(f"installing {', '.join(requirements)} for {label}")
    try:
        count = install(requirements, folder)
    except BuildError as error:
        say(f"NOT INSTALLED for {label}: {error}")
        return str(error)
    say(f"installed {count} packages ({_megabytes(folder):.0f} MB) in {time.monotonic() - started:.1f} s")
    return ""


def _missing(requirements: Sequence[str], scratch: Path) -> list[str]:
    """What the worker lacks, each package at its exact version, if all that the worker has keeps its own."""
    constraints, report = scratch / "constraints.txt", scratch / "report.json"
    here = {_normal(each.name): each for each in importlib.metadata.distributions()}
    base = closure(OF_THE_WORKER, lambda name: here[name].requires or () if name in here else ()) - _TAKEN_OUT
    kept = [f"{name}=={here[name].version}\n" for name in base if name in here]
    constraints.write_text("".join(kept), encoding="utf-8")
    _pip("install", "--dry-run", "--report", str(report), "--constraint", str(constraints), *requirements)
    chosen = json.loads(report.read_bytes())["install"]
    new = {_normal(each["metadata"]["name"]): each["metadata"] for each in chosen}
    exact = {name: f"{name}=={each.version}" for name, each in here.items()} | {
        _normal(each["metadata"]["name"]): _exact(each) for each in chosen
    }

    def needs(name: str) -> Iterable[str]:
        if name in base:
            return ()
        return new[name].get("requires_dist", ()) if name in new else here[name].requires or () if name in here else ()

    return [exact[name] for name in sorted(closure(requirements, needs) - base) if name in exact]


def _exact(chosen: Mapping[str, Any]) -> str:
    name, version = chosen["metadata"]["name"], chosen["metadata"]["version"]
    return f"{name} @ {chosen['download_info']['url']}" if chosen["is_direct"] else f"{name}=={version}"


def closure(requirements: Iterable[str], needs: Callable[[str], Iterable[str]]) -> set[str]:
    """The names of packages with all that they need on this machine.

    Args:
        needs: the requirements of a package by its name.
    """
    found: set[tuple[str, str]] = set()  # a name, with an extra or none
    left = list(requirements)
    while left:
        requirement = Requirement(left.pop())
        name = _normal(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in found:
                found.add((name, extra))
                left += [each for each in needs(name) if _holds(Requirement(each), extra)]
    return {name for name, _ in found}


def _holds(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pip(*arguments: str) -> None:
    command = [*_PIP, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise BuildError(_explained(done.stdout))


def _explained(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if "No module named pip" in output:
        return f"this Python has no pip; run: {sys.executable} -m ensurepip"
    if "ResolutionImpossible" in output:
        why = "; ".join([line for line in lines if "depends on" in line or "requested" in line][:6])
        return f"they do not fit what Millstream has, which keeps its versions: {why}"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return " ".join(errors[-2:] or lines[-2:])[:1000]


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def chosen_catalogue() -> Catalogue:
    """The catalogue of MODEL_CATALOGUE, or the shipped one.

    Raises:
        ConfigurationError: it cannot be read.
    """
    return load_catalogue(Path(os.environ.get("MODEL_CATALOGUE") or _SHIPPED))


def main(arguments: Sequence[str] = ()) -> int:
    """The command, with which versions as WORKER_MODELS has it, or for all; 1 if something could not be installed."""
    try:
        return 1 if install_all(chosen_catalogue(), *arguments) else 0
    except ConfigurationError as error:
        print(f"models: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
