"""Prometheus beside the native stack, if it is installed. The stack never fails because of it.

Its configuration is that of monitoring/, with the targets of this very stack: the second worker takes a free port, so
only the start knows it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.stack.config import StackConfig
from scripts.stack.ports import LOOPBACK, is_taken

NAME = "prometheus"
SYSTEM_PROGRAM = Path("/usr/bin/prometheus")
RETENTION = "15d"
MOST_DISK = "2GB"
Target = tuple[str, int]  # job, port


@dataclass(frozen=True)
class PrometheusServer:
    """A Prometheus over one folder."""

    program: Path
    monitoring: Path
    directory: Path
    port: int
    targets: tuple[Target, ...]

    def command(self) -> list[str]:
        """The command line; loopback only."""
        return [
            str(self.program),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--storage.tsdb.retention.size={MOST_DISK}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]

    def prepare(self) -> None:
        """Write its configuration."""
        (self.directory / "targets").mkdir(parents=True, exist_ok=True)
        configuration = (self.monitoring / "prometheus.yml").read_text(encoding="utf-8")
        (self.directory / "prometheus.yml").write_text(
            configuration.replace(f"{LOOPBACK}:9090", f"{LOOPBACK}:{self.port}"), encoding="utf-8"
        )
        shutil.rmtree(self.directory / "rules", ignore_errors=True)
        shutil.copytree(self.monitoring / "rules", self.directory / "rules", ignore=shutil.ignore_patterns("tests"))
        (self.directory / "targets" / "native.yml").write_text(targets_file(self.targets), encoding="utf-8")


def program() -> Path | None:
    """The Prometheus server, if one is installed."""
    found = shutil.which("prometheus")
    if found:
        return Path(found)
    return SYSTEM_PROGRAM if os.access(SYSTEM_PROGRAM, os.X_OK) else None


def targets_file(targets: Sequence[Target]) -> str:
    """What Prometheus reads its targets from (JSON, which is YAML too)."""
    groups = [{"targets": [f"{LOOPBACK}:{port}"], "labels": {"job": job}} for job, port in targets]
    return json.dumps(groups, indent=1) + "\n"


def server(config: StackConfig, targets: Sequence[Target]) -> PrometheusServer | None:
    """The stack's Prometheus; None where none is installed, or another listens on its port."""
    found = program()
    port = config.ports["PROMETHEUS_PORT"]
    if found is None or is_taken(port):
        return None
    return PrometheusServer(found, config.root / "monitoring", config.home / NAME, port, tuple(targets))


def hint(config: StackConfig, runs: bool | None) -> str:
    """Where Prometheus is, or how to get it, in a line; `runs` is None if it is not part of the stack."""
    port = config.ports["PROMETHEUS_PORT"]
    if runs:
        return f"http://localhost:{port}    (Prometheus)"
    if runs is not None:
        return f"Prometheus did not start: see {config.logs / 'prometheus.log'}"
    if program() is None:
        return "not collected: Prometheus is not installed (Debian: apt install prometheus)"
    return f"not collected: port {port} is taken, by another Prometheus? Choose one: make up PROMETHEUS_PORT={port + 1}"
