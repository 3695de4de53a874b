"""What an image for some models of the catalogue holds beside the worker: `make image MODELS=iris`.

Into a folder, laid out as in the worker's image: the catalogue, the code of their classes and those of their artifacts
that are directories. `scripts/image/models.Dockerfile` makes the image of it, and installs their `requirements` there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from models.own_packages import chosen_catalogue
from models.packages import BuildError
from shared.contract.catalogue import ELSEWHERE, Catalogue, ServedVersion
from shared.contract.errors import ConfigurationError

CATALOGUE = Path("models", "models.toml")  # in the image, whose services start in the folder above
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.pyc", "node_modules", "site-packages")


def stage(catalogue: Catalogue, text: str, wanted: str, folder: Path, started_in: Path) -> list[str]:
    """Copy what the image shall hold.

    Args:
        text: of the catalogue's file; the whole of it, since that is what the other services have.
        wanted: what to serve, as in WORKER_MODELS.
        folder: an empty one.
        started_in: the folder that services are started in, from which classes are imported.

    Returns:
        The labels of what is served.

    Raises:
        ConfigurationError: nothing is selected, or what is to be copied is not there, or outside of both folders.
    """
    served = catalogue.select(wanted)
    target = folder / CATALOGUE
    target.parent.mkdir(parents=True)
    target.write_text(text, encoding="utf-8")
    beside = Path(catalogue.directory).resolve()
    for place in _code(served, beside, started_in):
        _copy(place, folder, beside, started_in)
    for each in served:
        artifact = each.version.artifact
        if artifact and not artifact.startswith(ELSEWHERE):
            _copy(Path(catalogue.artifact_location(each.version)).resolve(), folder, beside, started_in)
    return [each.label for each in served]


def _code(served: Iterable[ServedVersion], beside: Path, started_in: Path) -> set[Path]:
    """The files and folders that classes are imported from."""
    places = set()
    for each in served:
        source, _, _ = each.task.rpartition(":")
        if source.endswith(".py"):
            found = next((file for file in (beside / source, started_in / source) if file.is_file()), None)
            if found is None:
                raise ConfigurationError(f"{each.label}: there is no file {source}")
            folder = found.resolve().parent
            places.add(found.resolve() if folder in (beside, started_in) else folder)
        elif source:
            places.add(_package(each.label, source.partition(".")[0]))
    return places


def _package(label: str, name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigurationError(f"{label}: there is no package {name} with an __init__.py")
    file = Path(spec.origin).resolve()
    return file.parent if file.name == "__init__.py" else file


def _copy(source: Path, folder: Path, beside: Path, started_in: Path) -> None:
    """Copy to where it is found in the image: beside the catalogue, or from where services are started."""
    for base, at in ((beside, CATALOGUE.parent), (started_in, Path())):
        if source.is_relative_to(base):
            target = folder / at / source.relative_to(base)
            break
    else:
        raise ConfigurationError(f"{source} is neither below {beside}, where the catalogue is, nor below {started_in}")
    if not source.exists():
        raise ConfigurationError(f"{source} is not there; artifacts are made by: make models")
    if source.is_dir():
        shutil.copytree(source, target, ignore=_LEFT_OUT, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def main(arguments: list[str]) -> int:
    """The command: what to serve, and the folder, which is emptied first."""
    wanted, folder = arguments
    try:
        catalogue = chosen_catalogue()
        file = Path(os.environ.get("MODEL_CATALOGUE") or Path(__file__).parent / "models.toml")
        shutil.rmtree(folder, ignore_errors=True)
        labels = stage(catalogue, file.read_text(encoding="utf-8"), wanted, Path(folder), Path.cwd())
    except (BuildError, ConfigurationError) as error:
        print(f"models: error: {error}", file=sys.stderr)
        return 1
    print(f"with {', '.join(labels)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
