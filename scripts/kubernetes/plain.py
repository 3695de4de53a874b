"""The plain manifests in k8s/, rendered from the chart: one place says what runs.

`namespace.yaml` and `secret.yaml` are written by hand: the chart makes no namespace, and a Secret of its own kind. The
dashboards are left out: kubectl makes their ConfigMap from the files themselves (see k8s/README.md).

kubectl applies the files of a folder in the order of their names: what others need has a name that begins with `00-`.
So the two by hand are there by such a name too, as links.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from scripts.kubernetes.chart import CHART, documents, render

FOLDER = CHART.parent
BY_HAND = ("namespace.yaml", "secret.yaml", "00-namespace.yaml", "00-secret.yaml")
VALUES = CHART / "ci" / "plain.yaml"
HEAD = "# Made from k8s/chart/ by `make manifests`: change that, or this copy if it is yours.\n"
# True of what Helm installs, not of what kubectl applies.
_HELMS_OWN = ("app.kubernetes.io/managed-by: ", "helm.sh/chart: ")
_WORKER = re.compile(r"^  name: (worker-.+)$", re.MULTILINE)
_DASHBOARDS = re.compile(r"^  name: grafana-dashboards$", re.MULTILINE)
_CONFIG = re.compile(r"^kind: ConfigMap$", re.MULTILINE)


def manifests() -> dict[Path, str]:
    """Every file that is made, with its content."""
    parts: dict[str, list[str]] = {}
    for template, text in documents(render("--skip-tests", values=[VALUES])):
        if not _DASHBOARDS.search(text):
            parts.setdefault(_file(template, text), []).append(_without_helm(text))
    return {FOLDER / name: HEAD + "---\n".join(sorted(texts, key=_is_no_config)) for name, texts in parts.items()}


def present() -> dict[Path, str]:
    """Every file that is there and was made."""
    found = sorted(path for path in FOLDER.glob("*.yaml") if path.name not in BY_HAND)
    return {path: path.read_text(encoding="utf-8") for path in found}


def write(made: Mapping[Path, str]) -> None:
    """Write what is made, and remove what is not made any more."""
    for path in present().keys() - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")


def _file(template: str, text: str) -> str:
    if template == "priorityclass.yaml":
        return f"00-{template}"
    if template != "deployment-worker.yaml":
        return template
    worker = _WORKER.search(text)
    if worker is None:
        raise ValueError(f"a worker's document without its name:\n{text}")
    return f"deployment-{worker.group(1)}.yaml"


def _without_helm(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines if not line.lstrip().startswith(_HELMS_OWN))


def _is_no_config(text: str) -> bool:
    """ConfigMaps come first in their file, since the rest reads them."""
    return not _CONFIG.search(text)
