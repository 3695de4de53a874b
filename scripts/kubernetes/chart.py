"""The Helm chart, rendered by the real helm."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.tools.kit import ROOT, find

CHART = ROOT / "k8s" / "chart"
NAMESPACE = "millstream"
TIMEOUT_S = 60
_SOURCE = "# Source: "


class RenderingFailed(Exception):
    """Helm refuses; the message is what it says."""


def render(*options: str, values: Sequence[Path] = (), release: str = "millstream") -> str:
    """What `helm template` makes of the chart.

    Args:
        options: more options of helm, as `--set=api.replicas=3`.
        values: files of values, the last one wins.

    Raises:
        RenderingFailed: a value is not allowed, or a template fails.
        ToolMissing: there is no helm.
    """
    files = [f"--values={path}" for path in values]
    command = [str(find("helm")), "template", release, str(CHART), f"--namespace={NAMESPACE}", *files, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        # Helm says of each linked file that it follows it; what matters comes after.
        raise RenderingFailed("\n".join(line for line in done.stderr.splitlines() if "symbolic link" not in line))
    return done.stdout


def documents(rendered: str) -> list[tuple[str, str]]:
    """The documents of a rendering in order, each with the name of its template."""
    made = []
    for part in f"\n{rendered}".split("\n---\n"):
        head, _, text = part.lstrip("\n").partition("\n")
        if head.startswith(_SOURCE):
            made.append((Path(head.removeprefix(_SOURCE)).name, text.strip("\n") + "\n"))
    return made


def objects(text: str) -> list[Any]:
    """The objects that YAML documents describe, without empty ones."""
    return [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]
