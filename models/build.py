"""Build the artifacts of the catalogue: `python -m models.build [--only NAME]`, behind `make models`.

What is there already and has the pinned hashes is left alone, so a second run takes a second. An artifact appears under
its name only when it is complete; a run that was interrupted leaves nothing that a worker could load.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

# Weights come from the package index alone: nothing here may ask a model hub. Set before transformers is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from models.artifacts import Recipe, build, only_builder  # noqa: E402
from models.conversions import convert_all  # noqa: E402
from models.own_packages import chosen_catalogue, install_all  # noqa: E402
from models.packages import BuildError, say  # noqa: E402
from models.recipes import RECIPES  # noqa: E402
from shared.contract.errors import MillstreamError  # noqa: E402


def build_all(only: str | None = None) -> bool:
    """Build what is missing, with what it needs; True where something was built.

    Args:
        only: the name of one artifact; None for all.

    Raises:
        BuildError: an artifact cannot be built, or there is none of that name.
    """
    with only_builder():
        return any([build(recipe) for recipe in wanted(only)])


def wanted(only: str | None) -> Sequence[Recipe]:
    """The recipes to follow, each after those it needs.

    Raises:
        BuildError: there is no artifact of that name.
    """
    if only is None:
        return RECIPES
    recipe = next((recipe for recipe in RECIPES if recipe.name == only), None)
    if recipe is None:
        raise BuildError(f"there is no artifact {only!r}; there are: {', '.join(each.name for each in RECIPES)}")
    return [each for each in RECIPES if each.name in recipe.needs] + [recipe]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.build", description="Build the model artifacts.")
    parser.add_argument("--only", metavar="NAME", help="build this artifact, and what it needs")
    only = parser.parse_args(arguments).only
    started = time.monotonic()
    try:
        built = build_all(only)
        if only is None:
            install_all(chosen_catalogue())
            convert_all(chosen_catalogue())
    except MillstreamError as error:
        print(f"models: error: {error}", file=sys.stderr)
        return 1
    say(f"{'built' if built else 'up to date'} ({time.monotonic() - started:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
