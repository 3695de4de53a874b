"""pip, told in a few lines: `python -m scripts.stack.install …` is `pip install …` that names each large download.

pip itself is either silent or prints several lines for each of a hundred packages. Only the standard library: it runs
in an environment that is still empty.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

from scripts.stack.reports import complain, say

LAST_LINES = 20
LARGE = 10**6  # bytes from which on a download has a line of its own
_SIZES = {"bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_FETCHED = re.compile(r"^\s*(Downloading|Using cached) (\S+) \(([\d.]+) (bytes|[kMG]B)\)")
_UNPACKING = "Installing collected packages: "


def told(lines: Iterable[str]) -> Iterator[str]:
    """What a person is told of pip's output, as it comes."""
    total = 0.0
    for line in lines:
        if found := _FETCHED.match(line):
            size = float(found[3]) * _SIZES[found[4]]
            total += size
            if size >= LARGE:
                yield f"  {found[1].lower()} {_package(found[2])} ({found[3]} {found[4]})"
        elif line.startswith(_UNPACKING):
            names = line.removeprefix(_UNPACKING).strip().split(", ")
            what = f"{len(names)} packages" if len(names) > 1 else names[0]
            yield f"  unpacking {what}" + (f" ({total / 1e6:.0f} MB) …" if total >= LARGE else " …")


def _package(address: str) -> str:
    """Name and version of a file as pip names it: an address, or the file alone."""
    file = unquote(address.rpartition("/")[2])
    return " ".join(file.removesuffix(".tar.gz").split("-")[:2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run pip; its exit code. If it fails, the end of what it said is shown."""
    given = sys.argv[1:] if arguments is None else arguments
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar=off", *given]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as pip:
        assert pip.stdout is not None
        for line in told(_kept(pip.stdout, last)):
            say(line)
    if pip.returncode:
        complain(f"pip failed:\n{''.join(last)}")
    return pip.returncode


def _kept(lines: Iterable[str], last: deque[str]) -> Iterator[str]:
    for line in lines:
        last.append(line)
        yield line


if __name__ == "__main__":
    sys.exit(main())
