"""What a check is: files that must pass, files known to be bad that must not, and the programs that tell them apart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.tools.kit import ROOT, ToolMissing, find

FIXTURES = ROOT / "tests" / "fixtures"
TIMEOUT_S = 300
SHOWN_CHARS = 1500

Run = Callable[[Sequence[Path]], None]


class Refused(Exception):
    """A file is not valid; the message says why."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        tools: the programs that it needs, each with how to get it ("" where `make tools` does).
        good: what must pass, all in one go.
        bad: what must not, each by itself, with words of the refusal: a tool that only crashes refuses as well.
        run: raises `Refused` where what it is given is not valid.
        make_bad: makes more that is bad in an empty folder, if it can't lie in the repository.
    """

    name: str
    tools: Mapping[str, str]
    good: tuple[Path, ...]
    bad: Mapping[Path, str]
    run: Run
    make_bad: Callable[[Path], dict[Path, str]] | None = None


def problem(check: Check) -> str | None:
    """Why a check fails; None where it holds."""
    try:
        for tool, get in check.tools.items():
            find(tool, get)
        if not check.good:
            return "there are no files to check"
        check.run(check.good)
    except (ToolMissing, Refused) as why:
        return str(why)
    with TemporaryDirectory(prefix="millstream-") as folder:
        made = check.make_bad(Path(folder)) if check.make_bad else {}
        for bad, words in {**check.bad, **made}.items():
            if (wrong := _wrongly_judged(check.run, bad, words)) is not None:
                return wrong
    return None


def _wrongly_judged(run: Run, bad: Path, words: str) -> str | None:
    try:
        run([bad])
    except Refused as refusal:
        if words in str(refusal):
            return None
        return f"{relative(bad)} was refused, but not for {words!r}: {refusal}"
    return f"{relative(bad)} is known to be bad and passed: this check finds nothing"


def command(*words: str) -> Run:
    """A program that is given the files after these words, and ends with a code other than 0 if one is bad."""

    def run(paths: Sequence[Path]) -> None:
        output(*words, *map(str, paths))

    return run


def one_by_one(*words: str) -> Run:
    """The same for a program that takes one file."""

    def run(paths: Sequence[Path]) -> None:
        for path in paths:
            output(*words, str(path))

    return run


def output(program: str, *words: str, environment: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    """What a program prints.

    Raises:
        Refused: it failed, or took too long; the message is what it said.
    """
    settings = {**os.environ, "NO_COLOR": "1", **(environment or {})}
    try:
        done = subprocess.run(
            [str(find(program)), *words],
            cwd=cwd,
            env=settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"{program} was not done after {TIMEOUT_S} s") from None
    if done.returncode:
        raise Refused(f"{program}: {_shortened((done.stderr.strip() + ' ' + done.stdout.strip()).strip())}")
    return done.stdout


def _shortened(said: str) -> str:
    """The beginning and the end of what is long."""
    if len(said) <= 2 * SHOWN_CHARS:
        return said
    return f"{said[:SHOWN_CHARS]}\n… ({len(said) - 2 * SHOWN_CHARS} characters left out) …\n{said[-SHOWN_CHARS:]}"


def files(*patterns: str, below: Path = ROOT) -> tuple[Path, ...]:
    """The files that match, in order."""
    return tuple(sorted({path for pattern in patterns for path in below.glob(pattern) if path.is_file()}))


def relative(path: Path) -> str:
    """A path as people write it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
