"""Packages of a version's own (`requirements`): where they are once they are installed.

`models/own_packages.py` installs them, beside the artifacts of the catalogue; the children of the version import them
from there. A folder is named after what is in it and appears when it is complete, so it never changes.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path


def folder_of(requirements: Sequence[str], catalogue_directory: str) -> Path:
    """The folder of these requirements, for this Python on this kind of machine.

    Args:
        catalogue_directory: where the catalogue file is.
    """
    facts = (*sorted(requirements), *platform.python_version_tuple()[:2], platform.machine())
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return Path(catalogue_directory).resolve() / "artifacts" / "packages" / digest
