"""Whether weights are those that the catalogue means: a file may change and keep its size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from inference_worker.tasks import hub
from shared.contract.catalogue import HUB_PREFIX
from shared.contract.errors import ConfigurationError


def check_weights(location: str, wanted: str | Mapping[str, str]) -> None:
    """Compare all `*.safetensors` files of an artifact with their SHA-256, in hexadecimal digits.

    Args:
        location: a directory, or `hf://owner/name[@revision]`.
        wanted: that of the only one, or by their paths within the artifact.

    Raises:
        ConfigurationError: one differs, is not there or is not named; or the artifact cannot be fetched.
    """
    directory = hub.fetch(location) if location.startswith(HUB_PREFIX) else Path(location)
    found = {str(file.relative_to(directory)): file for file in sorted(directory.rglob("*.safetensors"))}
    if isinstance(wanted, str):
        if len(found) != 1:
            raise ConfigurationError(
                f"{location} has {len(found)} *.safetensors files; name each: sha256 = {{ 'model.safetensors' = '…' }}"
            )
        wanted = dict.fromkeys(found, wanted)
    if odd := sorted(found.keys() ^ wanted.keys()):
        where = "in the artifact, and not in `sha256`" if odd[0] in found else "in `sha256`, and not in the artifact"
        raise ConfigurationError(f"{odd[0]} of {location} is {where}")
    for name, digest in wanted.items():
        with found[name].open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != digest:
            raise ConfigurationError(
                f"{name} of {location} is not what the catalogue means: its SHA-256 is {actual}, not {digest}; fetch "
                "or copy it again, or change `sha256`"
            )
