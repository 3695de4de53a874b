"""Converting what the catalogue names for the engine that computes it, once: a part of `make models`.

What was converted lies beside the weights, where every worker finds it. Artifacts of the hub are converted by whoever
loads them, and so is an adapter, whose base may serve for others too.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from inference_worker.tasks.stamps import stamped
from models.packages import say
from shared.contract.catalogue import HUB_PREFIX, Catalogue, ServedVersion
from shared.contract.tasks import TASKS
from shared.service.own_packages import folder_of

CONVERTED = {"openvino": "openvino_model.xml", "onnxruntime": "onnxruntime_model.onnx"}  # what each engine writes
_TOKENS = 512  # a pass, while it is tried
Given = TypeVar("Given")
Made = TypeVar("Made")


class Conversion(NamedTuple):
    """What is converted: a directory, for the task, the dtype and the engine that are to compute it."""

    task: str
    directory: str
    dtype: str
    engine: str
    packages: str = ""


def convert_all(catalogue: Catalogue) -> list[str]:
    """Convert what is not yet; what cannot be is said, and does not hold up the others.

    Returns:
        The versions (`model:version`) that could not be converted.
    """
    failed, done = [], set[Path]()
    for served in catalogue.served():
        file = missing(served, catalogue.artifact_location(served.version))
        if file is not None and file not in done:
            done.add(file)
            if not _try(served, catalogue):
                failed.append(served.label)
    return failed


def missing(served: ServedVersion, location: str) -> Path | None:
    """The file that a version's engine would read, and that is not there or out of date; None if nothing is to do."""
    version = served.version
    if version.engine not in CONVERTED or location.startswith(HUB_PREFIX):
        return None
    directory, name = Path(location), CONVERTED[version.engine]
    if not directory.is_dir() or (directory / "adapter_config.json").is_file():
        return None
    file = next(directory.rglob(name), directory / name)
    good = (None, True) if version.engine == "openvino" else (True,)  # those of the shipped artifacts have no stamp
    return None if file.is_file() and stamped(file) in good else file


def convert(conversion: Conversion) -> str:
    """Convert, and keep the result beside the weights; what it will be computed in. For a process of its own.

    Raises:
        ConfigurationError: it cannot be loaded or converted; the message says why.
        OSError: it cannot be written.
    """
    from importlib import import_module
    from operator import attrgetter

    from inference_worker.tasks.artifacts import open_artifact
    from inference_worker.tasks.custom import import_also_from
    from inference_worker.tasks.encoders import computed_in

    if conversion.packages:
        import_also_from(conversion.packages)
    artifact = open_artifact(conversion.directory, conversion.dtype, conversion.engine, "cpu")
    module, _, loader = TASKS[conversion.task].loader.partition(":")
    attrgetter(loader)(import_module(module))(dataclasses.replace(artifact, keep=True), _TOKENS)
    return computed_in(artifact)


def in_a_process(work: Callable[[Given], Made], given: Given) -> Made:
    """Do it in a fresh process, whose memory is given back."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(work, given).result()


def _try(served: ServedVersion, catalogue: Catalogue) -> bool:
    version, started = served.version, time.monotonic()
    folder = str(folder_of(version.requirements, catalogue.directory)) if version.requirements else ""
    location = catalogue.artifact_location(version)
    say(f"converting {served.label} for {version.engine}")
    try:
        in_a_process(convert, Conversion(served.task, location, version.dtype, version.engine, folder))
    except Exception as error:  # noqa: B902 - whatever it is, the worker says it too, of this version alone
        say(f"NOT CONVERTED: {served.label}: {error}")
        return False
    say(f"converted {served.label} in {time.monotonic() - started:.1f} s")
    return True
