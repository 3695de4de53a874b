"""What a person sees of an installation: the large downloads, the size of all, and what pip said if it failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stack.install import told

ROOT = Path(__file__).resolve().parents[2]

PIP = """Looking in indexes: https://index.example/whl/cpu
Obtaining file:///somewhere
Collecting torch==2.9.1
  Obtaining dependency information for torch from https://index.example/torch-2.9.1.whl.metadata
  Downloading https://index.example/whl/torch-2.9.1%2Bcpu-cp311-cp311-linux_x86_64.whl (184.5 MB)
Collecting aiohttp
  Downloading aiohttp-3.14.0-cp311-cp311-linux_x86_64.whl.metadata (8.1 kB)
Downloading aiohttp-3.14.0-cp311-cp311-linux_x86_64.whl (900 kB)
Using cached supervisor-4.3.0.tar.gz (1.1 MB)
Requirement already satisfied: redis in ./lib
Building wheels for collected packages: millstream
Installing collected packages: torch, aiohttp, supervisor
Successfully installed torch-2.9.1 aiohttp-3.14.0 supervisor-4.3.0
"""


def test_large_downloads_are_named_and_the_rest_is_summed_up() -> None:
    assert list(told(PIP.splitlines())) == [
        "  downloading torch 2.9.1+cpu (184.5 MB)",
        "  using cached supervisor 4.3.0 (1.1 MB)",
        "  unpacking 3 packages (187 MB) …",
    ]


def test_nothing_to_do_says_nothing() -> None:
    assert list(told(["Installing collected packages: torch"])) == ["  unpacking torch …"]
    assert list(told(["Requirement already satisfied: torch in ./lib"])) == []


def test_each_line_is_told_when_pip_says_it() -> None:
    lines = iter(PIP.splitlines())
    assert next(told(lines)) == "  downloading torch 2.9.1+cpu (184.5 MB)"
    assert next(lines) == "Collecting aiohttp", "nothing was read ahead"


def test_a_failure_shows_what_pip_said_and_its_exit_code() -> None:
    command = [sys.executable, "-m", "scripts.stack.install", "--no-index", "no-such-package-of-this-test"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("millstream: pip failed:\n")
    assert "No matching distribution found for no-such-package-of-this-test" in done.stderr


@pytest.mark.parametrize("target", [".installed", ".installed-dev", ".installed-preview"])
def test_every_installation_goes_this_way(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition(f"$(VENV)/{target}:")[2].partition("touch")[0]
    assert "$(INSTALL) " in recipe
