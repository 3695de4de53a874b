"""Checks of the manifests, of the Helm chart and of what the chart renders with each file of values.

Every document must be known: what kubernetes-validate has no schema for, it only warns of. What operators bring is
checked against these operators' own types.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from scripts.tools.kit import ROOT
from scripts.validate import schemas
from scripts.validate.check import FIXTURES, Check, Refused, files, output, relative

CHART = ROOT / "k8s" / "chart"
BAD = FIXTURES / "kubernetes"
MANIFESTS = files("k8s/*.yaml")
VALUES = files("values*.yaml", "ci/*.yaml", below=CHART)
VERSIONS = ("1.30", "1.37")  # the oldest and the newest that must take the manifests
APIS = sorted({version for version, _ in schemas.CUSTOM_RESOURCES})


class _UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which a key may stand once in a mapping: the last would win, silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        double = {str(key) for key in keys if keys.count(key) > 1}
        if double:
            raise Refused(f"line {node.start_mark.line + 1}: {', '.join(sorted(double))} stands there more than once")
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def documents(path: Path) -> list[dict[str, Any]]:
    """What a file of manifests holds.

    Raises:
        Refused: it is no YAML, has a key twice, or a document that is no object of Kubernetes.
    """
    try:
        read = [each for each in yaml.load_all(path.read_text(encoding="utf-8"), Loader=_UniqueKeys) if each]
    except (yaml.YAMLError, Refused) as error:
        raise Refused(f"{relative(path)}: {error}") from error
    for each in read:
        if not isinstance(each, dict) or not each.get("apiVersion") or not each.get("kind"):
            raise Refused(f"{relative(path)}: a document without apiVersion and kind")
    return read


def manifests(paths: Sequence[Path]) -> None:
    """Check every document: those of Kubernetes for each version, others against the types of their operators.

    A document that several files have is checked once: what the chart renders differs little between files of values.
    """
    seen: set[str] = set()
    with TemporaryDirectory(prefix="millstream-") as folder:
        own = []
        for number, path in enumerate(paths):
            new = {json.dumps(each): each for each in documents(path)}
            known = [each for text, each in new.items() if text not in seen and not _of_operator(path, each)]
            seen.update(new)
            own.append(Path(folder) / f"{number}-{path.name}")
            own[-1].write_text(yaml.safe_dump_all(known, sort_keys=False), encoding="utf-8")
        for version in VERSIONS:
            said = output("kubernetes-validate", "--strict", "--quiet", f"-k={version}", *map(str, own))
            if "WARN" in said:
                raise Refused(f"kubernetes-validate: {said.strip()}")


def _of_operator(path: Path, document: dict[str, Any]) -> bool:
    """Check a document against the types of an operator, if it is one's."""
    types = schemas.CUSTOM_RESOURCES.get((document["apiVersion"], document["kind"]))
    if types is not None:
        schemas.conforms(f"{relative(path)}: {document['kind']} {document['metadata']['name']}", document, types)
    return types is not None


def lint(paths: Sequence[Path]) -> None:
    """Have helm lint the chart with files of values."""
    for path in paths:
        output("helm", "lint", "--strict", "--quiet", f"--values={path}", str(_chart(path)))


def rendered_manifests(paths: Sequence[Path]) -> None:
    """Check what the chart renders with files of values."""
    with rendered(paths) as made:
        manifests(made)


def checkov(paths: Sequence[Path]) -> None:
    """Look for unsafe settings in manifests, and in what the chart renders with files of values."""
    values = [path for path in paths if path in VALUES]
    with rendered(values) as made:
        plain = [f"--file={path}" for path in (*(each for each in paths if each not in values), *made)]
        words = ("--framework=kubernetes", "--skip-download", "--compact", "--quiet")
        output("checkov", *words, f"--config-file={ROOT / '.checkov.yaml'}", *plain)


@contextmanager
def rendered(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Render the chart with each file of values, into files of the same names."""
    with TemporaryDirectory(prefix="millstream-") as folder:
        made = []
        for path in paths:
            apis = [f"--api-versions={api}" for api in APIS]
            text = output(
                *("helm", "template", "millstream", str(_chart(path)), f"--values={path}", "--namespace=millstream"),
                *apis,
            )
            made.append(Path(folder) / f"rendered-{path.stem}.yaml")
            made[-1].write_text(text, encoding="utf-8")
        yield made


def _chart(values: Path) -> Path:
    """The chart that a file of values lies in, else the one that is shipped."""
    return values.parent if (values.parent / "Chart.yaml").exists() else CHART


HELM = {"helm": ""}
VALIDATE = {"kubernetes-validate": "", schemas.GENERATOR: ""}
CHECKS = (
    Check(
        "security of the manifests and of the rendered chart (checkov)",
        {"checkov": ""} | HELM,
        (*MANIFESTS, *VALUES),
        {BAD / "privileged.yaml": "CKV_K8S_16"},
        checkov,
    ),
    Check(
        f"manifests (kubernetes-validate {', '.join(VERSIONS)}, operators' types)",
        VALIDATE,
        MANIFESTS,
        {
            BAD / "unknown_field.yaml": "imagee",
            BAD / "unknown_kind.yaml": "Couldn't find schema for kind Widget",
            BAD / "key_twice.yaml": "LOG_LEVEL stands there more than once",
            BAD / "scaledobject_unknown_field.yaml": "coolDownPeriod",
            BAD / "podmonitor_wrong_type.yaml": "podMetricsEndpoints",
        },
        manifests,
    ),
    Check(
        "rendered chart (the same)",
        VALIDATE | HELM,
        VALUES,
        {BAD / "chart" / "values.yaml": "date"},
        rendered_manifests,
    ),
    Check(
        "chart (helm lint)",
        HELM,
        VALUES,
        {BAD / "values_unknown_key.yaml": "gatewayy"},
        lint,
    ),
)
