"""A real Prometheus for tests: it scrapes what it is told, records by our rules, and answers queries."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.stack.config import ROOT
from scripts.stack.ports import LOOPBACK, free_port
from scripts.stack.prometheus import program
from scripts.stack.server import DataServer

INTERVAL = "1s"  # above the half second that a gateway gives Redis before it leaves the depths out of a scrape
Target = tuple[int, Mapping[str, str]]  # port, labels


class PrometheusProcess(DataServer):
    """A Prometheus over one folder, with our recording rules."""

    name = "prometheus"
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, port: int, targets: Sequence[Target], rules: Path) -> None:
        super().__init__(directory, port)
        self._targets = targets
        self._rules = rules

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        groups = [{"targets": [f"{LOOPBACK}:{port}"], "labels": dict(labels)} for port, labels in self._targets]
        configuration = {
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": [str(self._rules)],
            "scrape_configs": [{"job_name": "gateway", "static_configs": groups}],
        }
        (self.directory / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")  # is YAML too

    def command(self) -> list[str]:
        found = program()
        assert found is not None, "a Prometheus is installed (Debian: apt install prometheus)"
        return [
            str(found),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--log.level=warn",
        ]

    def is_ready(self, pid: int) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False

    def series(self, selector: str) -> set[str]:
        """The names of the series that a selector finds in the last minute, as the adapter discovers them."""
        found = self._ask("series", {"match[]": selector, "start": str(time.time() - 60)})
        return {each["__name__"] for each in found}

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """An instant query: labels and value of each sample."""
        answer = self._ask("query", {"query": expression})["result"]
        return [(each["metric"], float(each["value"][1])) for each in answer]

    def _ask(self, what: str, parameters: Mapping[str, str]) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]


@contextmanager
def running_prometheus(
    directory: Path, targets: Sequence[Target], rules: Path = ROOT / "monitoring" / "rules" / "recording.yml"
) -> Iterator[PrometheusProcess]:
    """A started Prometheus for the length of the block."""
    server = PrometheusProcess(directory, free_port(), targets, rules)
    try:
        server.start()
        yield server
    finally:
        server.stop()
