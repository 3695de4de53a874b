"""How many children a model version has, and with how many threads each."""

from __future__ import annotations

from pathlib import Path

from inference_worker.children.child import LoadPlan
from inference_worker.cpus import memory_given
from inference_worker.engine import ChildLimits
from shared.contract.catalogue import ServedVersion, Version
from shared.contract.errors import ConfigurationError
from shared.service.own_packages import folder_of

SMALL_MODEL_BYTES = 256 * 1024 * 1024


def processes_of(served: ServedVersion, location: str, cpus: int) -> int:
    """How many children serve a version: what the catalogue says, otherwise one for each CPU if the model is small.

    A class of the user's own has one, since nobody knows what it needs; so has a model of the hub, which may not have
    been fetched yet.
    """
    if served.version.processes is not None:
        return served.version.processes
    small = ":" not in served.task and 0 < _bytes_in(Path(location)) <= SMALL_MODEL_BYTES
    return cpus if small else 1


def load_plan(location: str, served: ServedVersion, cpus: int, catalogue_directory: str = ".") -> tuple[LoadPlan, int]:
    """What each child of a version loads, and how many there are: together they have `cpus` threads.

    Raises:
        ConfigurationError: its own packages are not installed, or the file of its class is not there.
    """
    version = served.version
    processes = processes_of(served, location, cpus)
    memory = memory_given() if version.max_memory_mb is None else version.max_memory_mb * 1024 * 1024
    plan = LoadPlan(
        served.label,
        task_at(served.task, catalogue_directory),
        location,
        version.dtype,
        version.engine,
        version.device,
        version.batch.max_batch_tokens or 0,
        max(1, cpus // processes),
        memory,
        version.max_output_bytes,
        version.limits.tokens,
        version.limits.chunks,
        _packages(version, catalogue_directory),
        version.sha256,
    )
    return plan, processes


def task_at(task: str, catalogue_directory: str) -> str:
    """A task, with the path of its file if it is a class of a file: beside the catalogue, or in the working directory.

    Raises:
        ConfigurationError: there is no such file.
    """
    file, _, name = task.rpartition(":")
    if not file.endswith(".py"):
        return task
    places = [Path(each, file).resolve() for each in (catalogue_directory, ".")]
    found = next(filter(Path.is_file, places), None)
    if found is None:
        raise ConfigurationError(f"there is no file {' or '.join(map(str, dict.fromkeys(places)))}")
    return f"{found}:{name}"


def _packages(version: Version, catalogue_directory: str) -> str:
    if not version.requirements:
        return ""
    folder = folder_of(version.requirements, catalogue_directory)
    if not folder.is_dir():
        names = ", ".join(version.requirements)
        raise ConfigurationError(f"what it requires ({names}) is not installed: `make models` does it, or says why not")
    return str(folder)


def child_limits(version: Version, load_timeout_s: float) -> ChildLimits:
    """How long the children of a version may take, and when they are replaced."""
    growth = None if version.max_memory_mb is None else version.max_memory_mb * 1024 * 1024 // 2
    return ChildLimits(load_timeout_s, version.compute_timeout_s, version.max_requests, growth)


def _bytes_in(directory: Path) -> int:
    return sum(each.stat().st_size for each in directory.rglob("*") if each.is_file()) if directory.is_dir() else 0
