"""Whether a converted model that lies beside weights was made here, and from these weights.

A stamp beside it has the digests of its files, and of the configuration and the weights that it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from inference_worker.tasks.directories import read_json


def write_stamp(converted: Path) -> None:
    """Stamp a model that was just converted; `converted` is its file, such as `model.onnx`."""
    _stamp(converted).write_text(json.dumps(_digests(converted), indent=2) + "\n", encoding="utf-8")


def stamped(converted: Path) -> bool | None:
    """True if the stamp is right, False if a file is another one by now, None if there is no stamp."""
    stamp = read_json(_stamp(converted))
    return None if stamp is None else bool(stamp == _digests(converted))


def _stamp(converted: Path) -> Path:
    return converted.with_name(f"{converted.name}.json")


def _digests(converted: Path) -> dict[str, dict[str, str]]:
    directory = converted.parent
    return {
        "made": _sha256([converted, converted.with_suffix(".bin")]),
        "from": _sha256([directory / "config.json", *sorted(directory.glob("*.safetensors"))]),
    }


def _sha256(files: Iterable[Path]) -> dict[str, str]:
    digests = {}
    for file in files:
        if file.is_file():
            with file.open("rb") as content:
                digests[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests
