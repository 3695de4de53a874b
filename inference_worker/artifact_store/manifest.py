"""Which files an artifact in a bucket has, by its `SHA256SUMS`, and which of them a model needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from inference_worker.tasks.directories import UNWANTED, WANTED
from shared.contract.buckets import MANIFEST, is_file_name
from shared.contract.errors import ConfigurationError

MOST_FILES = 1000
MOST_BYTES = 256 * 1024
_CONVERTED = ("openvino_model.*", "onnxruntime_model.onnx")
_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(.+)", re.ASCII)


def parse_manifest(content: bytes) -> dict[str, str]:
    """The SHA-256 of each file, by its name below the folder.

    Raises:
        ConfigurationError: it is not what sha256sum prints, or names too many files, or one that may not be.
    """
    files: dict[str, str] = {}
    for name, digest in _entries(content):
        if not is_file_name(name):
            raise ConfigurationError(
                f"{MANIFEST} names {name[:100]!r}: a file is named relative to the folder, by A-Z, a-z, 0-9, '_', '.', "
                "'+', '=' and '-', and never by '..'"
            )
        if files.setdefault(name, digest) != digest:
            raise ConfigurationError(f"{MANIFEST} names {name!r} twice, with different digests")
    if len(files) > MOST_FILES:
        raise ConfigurationError(f"{MANIFEST} names {len(files)} files: at most {MOST_FILES} are allowed")
    return files


def needed(files: Mapping[str, str], *, all_of_them: bool) -> dict[str, str]:
    """Those that are fetched: all for a class of the user's own, otherwise what is read of a model directory.

    Raises:
        ConfigurationError: there are none.
    """
    chosen = {name: digest for name, digest in files.items() if all_of_them or _is_read(name)}
    if not chosen:
        raise ConfigurationError(f"{MANIFEST} names no file that a model needs, such as model.safetensors")
    return chosen


def _entries(content: bytes) -> Iterator[tuple[str, str]]:
    """Names and digests; its own line, which is of what it was before, is left out."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{MANIFEST} is no text: make it with sha256sum") from None
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise ConfigurationError(f"line {number} of {MANIFEST} is not as sha256sum prints it: {line[:100]!r}")
        if found[2] != MANIFEST:
            yield found[2], found[1]


def _is_read(name: str) -> bool:
    return any(fnmatchcase(name, each) for each in (*WANTED, *_CONVERTED)) and not any(
        fnmatchcase(name, each) for each in UNWANTED
    )
