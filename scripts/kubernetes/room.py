"""What the pods of the chart request, with the fewest and with the most replicas: for the README, and for the tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from scripts.kubernetes.chart import CHART, objects, render

FILES = ("values.yaml", "values-staging.yaml", "values-production.yaml")
BEGIN = "<!-- room: made by make manifests -->"
END = "<!-- /room -->"
_BYTES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

Object = dict[str, Any]


class Room(NamedTuple):
    """CPUs and GiB that pods request together."""

    cpus: float
    gib: float

    def __str__(self) -> str:
        return f"{self.cpus:.1f} CPUs, {self.gib:.1f} GiB"


def requested(values: str) -> tuple[Room, Room]:
    """What the chart requests with a file of values: with the fewest replicas, and with the most.

    Raises:
        RenderingFailed: helm refuses the values.
        ToolMissing: there is no helm.
    """
    made = objects(render("--skip-tests", values=[CHART / values]))
    return total(made, "minReplicas"), total(made, "maxReplicas")


def total(objects: Sequence[Object], bound: str) -> Room:
    """What all pods request together.

    Args:
        bound: `minReplicas` or `maxReplicas` of their autoscalers.
    """
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"][bound]
        for each in objects
        if each["kind"] == "HorizontalPodAutoscaler"
    }
    return _sum(
        (each, scaled.get(each["metadata"]["name"], each["spec"].get("replicas", 1)))
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet", "Job")
    )


def table() -> str:
    """The Markdown table."""
    lines = ["| file | fewest replicas | most replicas |", "|---|---|---|"]
    for values in FILES:
        fewest, most = requested(values)
        lines.append(f"| `{values}` | {fewest} | {most} |")
    return "\n".join(lines)


def _sum(workloads: Iterable[tuple[Object, int]]) -> Room:
    cpus = gib = 0.0
    for workload, replicas in workloads:
        for container in workload["spec"]["template"]["spec"]["containers"]:
            requests = container["resources"]["requests"]
            cpus += replicas * _cpus(str(requests["cpu"]))
            gib += replicas * _bytes(requests["memory"]) / (1 << 30)
    return Room(cpus, gib)


def _cpus(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def _bytes(quantity: str) -> int:
    number = quantity.rstrip("KMGTik")
    return int(number) * _BYTES[quantity.removeprefix(number)]
