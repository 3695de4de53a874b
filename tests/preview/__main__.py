"""`python -m tests.preview`: run the stack under load and faults, ask Prometheus for every panel, draw them all.

Fails where a query of a panel has no data. The models are stand-ins.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.preview.draw import Series, cut, draw
from tests.preview.load import run
from tests.preview.system import system
from tests.processes import REPOSITORY

DASHBOARDS = sorted((REPOSITORY / "monitoring/grafana/dashboards").glob("*.json"))
PICTURES = REPOSITORY / "docs/img"
STEP_S = 2
SETTLE_S = 6  # the last scrapes and evaluations


def filled(expression: str, seconds: float) -> str:
    """The expression with Grafana's variables filled in, everything chosen."""
    values = {"$__rate_interval": "8s", "$__range": f"{seconds:.0f}s", "$model": ".*", "$version": ".*"}
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    return expression


def ask(url: str, expression: str, start: float, end: float) -> list[Series]:
    """The series of an expression over a time: labels, and values by time."""
    query = {"query": filled(expression, end - start), "start": f"{start}", "end": f"{end}", "step": f"{STEP_S}"}
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return [(each["metric"], [(float(at) - start, float(value)) for at, value in each["values"]]) for each in found]


def data_of(
    dashboard: dict[str, Any], url: str, start: float, end: float
) -> tuple[dict[int, list[list[Series]]], list[str]]:
    """For each panel the series of its queries, and the queries that have none."""
    found: dict[int, list[list[Series]]] = {}
    empty = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            series = ask(url, target["expr"], start, end)
            found.setdefault(panel["id"], []).append(series)
            if not any(value == value for _, values in series for _, value in values):
                empty.append(f"{dashboard['title']}: {panel['title']}: {target['expr']}")
    return found, empty


def main() -> int:
    """Draw all dashboards; the exit code says whether every query had data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="folder of the pictures")
    pictures: Path = parser.parse_args().pictures
    pictures.mkdir(parents=True, exist_ok=True)
    empty: list[str] = []
    with tempfile.TemporaryDirectory() as folder, system(Path(folder)) as stack:
        start = time.time()
        print("load and faults …", flush=True)
        asyncio.run(run(stack))
        end = time.time() - STEP_S
        time.sleep(SETTLE_S)
        for path in DASHBOARDS:
            dashboard = json.loads(path.read_text(encoding="utf-8"))
            found, missing = data_of(dashboard, stack.prometheus_url, start, end)
            empty += missing
            picture = pictures / f"dashboard-{path.stem}.png"
            draw(dashboard, found, picture)
            print(f"{picture}: {picture.stat().st_size // 1000} kB", flush=True)
            if path.stem == "queues":
                cut(dashboard, "Waiting and workers", picture, pictures / "queues.png")  # for the README
    for each in empty:
        print(f"no data: {each}", file=sys.stderr)
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
