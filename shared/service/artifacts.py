"""Artifacts: where those of versions that are registered by API may be, and what tells one from another.

Who registers a version chooses what a worker reads. So an artifact is a directory below one of `MODEL_ROOTS`, from
which no link leads out; or a commit of an owner on the hub who is named in `HUB_OWNERS`; or below one of the places in
buckets that `MODEL_BUCKETS` names. Its digest is of the names and contents of its files, and looked at again whenever a
worker loads it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from shared.contract.buckets import BUCKET_PREFIX, is_within, parse_address
from shared.contract.catalogue import HUB_PREFIX
from shared.contract.errors import ConfigurationError

MOST_FILES = 1000
_HUB = re.compile(r"hf://(?P<owner>[A-Za-z0-9][\w.-]{0,95})/[A-Za-z0-9][\w.-]{0,95}@(?P<commit>[0-9a-f]{40})", re.ASCII)


class Artifact(NamedTuple):
    """An artifact that may be loaded.

    Attributes:
        location: a directory, or the address of a commit on the hub or of a folder in a bucket.
        digest: `sha256:…` of the files of a directory or of a bucket, `commit:…` of the hub.
    """

    location: str
    digest: str


class Sources(NamedTuple):
    """Where artifacts may be that are registered by API.

    Attributes:
        roots: below one of which a directory has to be.
        owners: of models on the hub.
        buckets: places in buckets, such as `s3://models/released`.
    """

    roots: Sequence[Path] = ()
    owners: Collection[str] = ()
    buckets: Collection[str] = ()


class ArtifactRefused(ConfigurationError):
    """An artifact may not be loaded, or is not there; the message says why, and what to do."""


def open_artifact(artifact: str, sources: Sources) -> Artifact:
    """Find an artifact, and read all of its files for the digest: blocks for about a second a gigabyte.

    What is elsewhere is not read: its address has the digest, and who fetches it compares.

    Args:
        artifact: a directory, absolute or below one of the roots; `hf://owner/name@commit`; or
            `s3://bucket/path@sha256:…`.
        sources: where it may be.

    Raises:
        ArtifactRefused: it is not there, or may not be used.
    """
    if artifact.startswith(HUB_PREFIX):
        return Artifact(artifact, f"commit:{_commit(artifact, sources.owners)}")
    if artifact.startswith(BUCKET_PREFIX):
        return Artifact(artifact, f"sha256:{_of_bucket(artifact, sources.buckets)}")
    try:
        directory, root = _directory(artifact, sources.roots)
        refuse_adapter(directory, artifact)
        return Artifact(str(directory), _digest(_allowed_files(directory, root)))
    except OSError as error:
        raise ArtifactRefused(f"{artifact!r} cannot be read: {error.strerror}") from error


def refuse_adapter(directory: Path, artifact: str) -> None:
    """Refuse an adapter: what it is laid over is not part of the artifact.

    Raises:
        ArtifactRefused: it is one.
    """
    if (directory / "adapter_config.json").is_file():
        raise ArtifactRefused(f"{artifact!r} is an adapter, whose base may be anywhere: merge it into its base first")


def digest_of(location: str) -> str:
    """The digest of an artifact wherever it is, of links too; of one that is no directory, that of no files.

    Raises:
        OSError: it cannot be read.
    """
    directory = Path(location)
    files = (each for each in directory.rglob("*") if each.is_file()) if directory.is_dir() else ()
    return _digest((each.relative_to(directory).as_posix(), each) for each in files)


def _commit(address: str, owners: Collection[str]) -> str:
    found = _HUB.fullmatch(address)
    if found is None:
        raise ArtifactRefused(
            f"{address!r} names no commit of the hub: write hf://owner/name@ and the 40 hexadecimal digits of one"
        )
    if found["owner"] not in owners:
        raise ArtifactRefused(f"the owner {found['owner']!r} is not in HUB_OWNERS: add it if its models may be loaded")
    return found["commit"]


def _of_bucket(artifact: str, buckets: Collection[str]) -> str:
    try:
        address = parse_address(artifact)
    except ConfigurationError as error:
        raise ArtifactRefused(str(error)) from None
    if not is_within(address, buckets):
        raise ArtifactRefused(f"{address.folder!r} is not below one of MODEL_BUCKETS: add it if it may be loaded")
    return address.digest


def _directory(artifact: str, roots: Sequence[Path]) -> tuple[Path, Path]:
    """The real directory, and the real root that it is in."""
    if not roots:
        raise ArtifactRefused("no directory may be loaded, since MODEL_ROOTS is empty")
    if "\0" in artifact or ".." in Path(artifact).parts:
        raise ArtifactRefused(f"{artifact!r} must not have '..' or a NUL in it")
    led_out = False
    for root in map(_real, roots):
        directory = _real(root / artifact)  # an absolute path stays as it is
        if directory.is_dir() and directory.is_relative_to(root) and directory != root:
            return directory, root
        led_out = led_out or (directory.exists() and not directory.is_relative_to(root))
    why = "leads out of MODEL_ROOTS" if led_out else "is no directory below MODEL_ROOTS"
    raise ArtifactRefused(f"{artifact!r} {why}")


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(content.encode() + b" " + os.fsencode(name) + b"\0")
    return f"sha256:{digest.hexdigest()}"


def _allowed_files(directory: Path, root: Path) -> list[tuple[str, Path]]:
    files = list(islice(_files(directory, root), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise ArtifactRefused(f"{directory.name!r} has more than {MOST_FILES} files")
    return files


def _files(directory: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Each file, by its name below the directory, and where it really is."""
    for folder, folders, files in os.walk(directory, onerror=_raise):
        for name in [*folders, *files]:
            path = Path(folder, name)
            real, shown = _real(path), path.relative_to(directory).as_posix()
            if not real.is_relative_to(root):
                raise ArtifactRefused(f"{shown!r} of {directory.name!r} is a link that leads out of MODEL_ROOTS")
            if name in folders:
                if path.is_symlink():
                    raise ArtifactRefused(f"{shown!r} of {directory.name!r} is a link to a directory")
            elif not real.is_file():
                raise ArtifactRefused(f"{shown!r} of {directory.name!r} is no file")
            else:
                yield shown, real


def _raise(error: OSError) -> None:
    raise error


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
