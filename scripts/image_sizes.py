"""The gate on image sizes: `python -m scripts.image_sizes`, after `make images`; it ends with 1 if one is too large.

Sizes are those of the unpacked layers, what an image takes on a node's disk. The layer of model artifacts, if they
are baked in, is shown beside it and does not count. The limits stand in pyproject.toml. Only the standard library.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ARTIFACTS_LAYER = "/app/models/artifacts"
MEGABYTE = 1_000_000
TIMEOUT_S = 60


class NoImage(Exception):
    """An image is not there; the message says what docker said."""


@dataclass(frozen=True)
class Size:
    """Bytes of an image, and of the model artifacts in it."""

    image: int
    artifacts: int = 0


def parse(history: str) -> Size:
    """Add up what `docker history` says of the layers, one a line: bytes, a tab, the instruction."""
    layers = [line.partition("\t") for line in history.splitlines()]
    artifacts = sum(
        int(size) for size, _, made_by in layers if made_by.startswith("COPY") and ARTIFACTS_LAYER in made_by
    )
    return Size(sum(int(size) for size, _, _ in layers) - artifacts, artifacts)


def measure(image: str) -> Size:
    """Ask docker.

    Raises:
        NoImage: docker, or the image, is not there.
    """
    command = ["docker", "history", "--no-trunc", "--human=false", "--format={{.Size}}\t{{.CreatedBy}}", image]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except OSError as error:
        raise NoImage(f"docker: {error}") from None
    if done.returncode:
        raise NoImage(done.stderr.strip())
    return parse(done.stdout)


def line(image: str, size: Size, limit_mb: int | None) -> tuple[bool, str]:
    """Whether an image keeps to its limit, and its line of the table."""
    good = limit_mb is None or size.image < limit_mb * MEGABYTE
    limit = "no limit" if limit_mb is None else f"below {limit_mb} MB" if good else f"NOT below {limit_mb} MB"
    models = f", and {size.artifacts / MEGABYTE:.0f} MB of models" if size.artifacts else ""
    return good, f"{image:<43} {size.image / MEGABYTE:5.0f} MB  {limit}{models}"


def read_limits(pyproject: Path) -> Mapping[str, int]:
    """Megabytes by target of the Dockerfile; 0 is no limit."""
    limits: Mapping[str, int] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["millstream"][
        "image_limits_mb"
    ]
    return limits


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the sizes of all images, or of those named."""
    limits = read_limits(Path(__file__).resolve().parents[1] / "pyproject.toml")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.image_sizes", description="Hold image sizes to their limits."
    )
    parser.add_argument("--name", default="millstream/{target}:local", help="an image's name (default: %(default)s)")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of: {', '.join(limits)} (default: all)")
    given = parser.parse_args(arguments)
    unknown = set(given.targets) - limits.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are: {', '.join(limits)}")
    all_good = True
    for target in given.targets or limits:
        image = given.name.format(target=target)
        try:
            good, text = line(image, measure(image), limits[target] or None)
        except NoImage as error:
            good, text = False, f"{image:<43} cannot be measured: {error}; make images builds it"
        all_good &= good
        print(text, file=sys.stdout if good else sys.stderr, flush=True)
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
