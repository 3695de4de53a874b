"""What computes a version: a digest of its artifact and of the code of its task.

Results may be given again only as long as it is the same. A version of the hub without a commit, whose artifact may
change, has none.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

from inference_worker.children.child import LoadPlan
from shared.contract.catalogue import HUB_PREFIX
from shared.service.artifacts import digest_of
from shared.service.version import software_version

_PINNED = re.compile(rf"{HUB_PREFIX}[^@]+@[0-9a-f]{{40}}")


def fingerprint_of(plan: LoadPlan, artifact_digest: str | None = None) -> str:
    """The fingerprint; empty if there is none. Call it in a thread: it reads all of an artifact without a digest."""
    if plan.location.startswith(HUB_PREFIX) and not _PINNED.fullmatch(plan.location):
        return ""
    code = _source_of(plan.task) if ":" in plan.task else software_version().encode()
    if code is None:
        return ""
    digest = hashlib.sha256()
    for part in (plan.task, plan.dtype, plan.engine, plan.device, plan.location, Path(plan.packages).name):
        digest.update(f"{part}\0".encode())
    digest.update(hashlib.sha256(code).digest())
    if not plan.location:
        return digest.hexdigest()[:32]
    try:
        digest.update((artifact_digest or digest_of(plan.location)).encode())
    except OSError:
        return ""
    return digest.hexdigest()[:32]


def _source_of(task: str) -> bytes | None:
    """The source of a task's module, found without importing it; None if it is no file."""
    name = task.rpartition(":")[0]
    if name.endswith(".py"):
        return Path(name).read_bytes() if Path(name).is_file() else None
    relative = Path(*task.partition(":")[0].split("."))
    for folder in map(Path, sys.path):
        for found in (folder / relative.with_suffix(".py"), folder / relative / "__init__.py"):
            if found.is_file():
                return found.read_bytes()
    return None
