"""JSON schemas of what others define, made from the types in their npm packages once and kept with these.

The types are strict: a field that they don't know is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

from scripts.tools.kit import kits
from scripts.validate.check import Refused, output

GENERATOR = "ts-json-schema-generator"
# File in the packages, and name of the type, by apiVersion and kind.
CUSTOM_RESOURCES = {
    ("keda.sh/v1alpha1", kind): (f"@kubernetes-models/keda/keda.sh/v1alpha1/{kind}.d.ts", f"I{kind}")
    for kind in ("ScaledObject", "TriggerAuthentication")
} | {
    ("monitoring.coreos.com/v1", kind): (
        f"@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/{kind}.d.ts",
        f"I{kind}",
    )
    for kind in ("PodMonitor", "PrometheusRule")
}
DASHBOARD = ("@grafana/schema/dist/types/raw/dashboard/x/types.gen.d.ts", "Dashboard")


def conforms(what: str, value: object, types: tuple[str, str]) -> None:
    """Check a value against a type.

    Raises:
        Refused: it does not fit; the message says where.
    """
    validator = jsonschema.Draft7Validator(_schema(*types))
    for error in validator.iter_errors(value):
        raise Refused(f"{what}: {error.json_path}: {error.message[:300]}")


def dashboards(paths: Sequence[Path]) -> None:
    """Check Grafana dashboards."""
    for path in paths:
        conforms(path.name, json.loads(path.read_text(encoding="utf-8")), DASHBOARD)


def _schema(types: str, name: str) -> Any:
    folder = kits()["schemas"].folder()
    kept = folder / f"{name}.json"
    if not kept.exists():
        source = folder / "node_modules" / types
        made = output(GENERATOR, f"--path={source}", f"--type={name}", "--no-type-check")
        kept.write_text(made, encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))
