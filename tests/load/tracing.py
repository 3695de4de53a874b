"""What traces cost: CPU time a request, of each service, off and on: `python -m tests.load.tracing`.

One pipeline an arm, all on one Redis and one Postgres. The arms take turns, so that whatever else the machine does
meets all of them alike. `--before DIR` adds an arm that runs the code of another checkout: what being off costs.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis

from scripts.stack.ports import free_port
from tests.collector import Collector, running_collector
from tests.load.stores import running_stores
from tests.processes import REPOSITORY, Service, wait_until

BODY = json.dumps({"model": "noop", "text": "This product is great and I love it very much, thanks a lot"})
PORTS = {"gateway": "GATEWAY_PORT", "inference_worker": "WORKER_METRICS_PORT", "persister": "PERSISTER_METRICS_PORT"}
CONNECTIONS = 32


class Arm:
    """One pipeline, and the CPU time that each of its services took a request, in µs, round by round."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self._redis = Redis.from_url(environment["REDIS_URL"])
        self._results = f"{environment['KEY_PREFIX']}results"
        self.services: dict[str, Service] = {}
        for module, variable in PORTS.items():
            port = free_port()
            log = folder / f"{name.replace(' ', '-')}-{module}.log"
            self.services[module] = Service(module, port, {**environment, variable: str(port)}, log)
        self.took: dict[str, list[float]] = {module: [] for module in PORTS}

    def run(self, seconds: float, *, count: bool = True) -> None:
        """Load it for a while, and wait until everything is stored."""
        before = self._cpu_ns()
        command = [sys.executable, "-m", "tests.load.client", self.services["gateway"].url.rpartition(":")[2]]
        command += ["/api/v1/predict", BODY, f"--connections={CONNECTIONS}", f"--seconds={seconds}"]
        done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
        statuses = json.loads(done.stdout)["statuses"]
        if set(statuses) != {"200"}:
            raise SystemExit(f"{self.name}: not every answer was 200: {statuses}")
        wait_until(lambda: self._redis.xlen(self._results) == 0, "everything is stored")
        if count:
            for module, nanoseconds in self._cpu_ns().items():
                self.took[module].append((nanoseconds - before[module]) / 1000 / statuses["200"])

    def _cpu_ns(self) -> dict[str, int]:
        """CPU time of each process, all of its threads (Linux's clock of another process)."""
        return {name: time.clock_gettime_ns((~each.process.pid << 3) | 2) for name, each in self.services.items()}


@contextmanager
def arms(folder: Path, before: Path | None, off_only: bool) -> Iterator[tuple[list[Arm], Collector]]:
    """All arms, ready."""
    with ExitStack() as stack:
        collector = stack.enter_context(running_collector())
        _, _, environment = stack.enter_context(running_stores(folder, "noop", maxmemory="1gb"))
        environment["LOG_LEVEL"] = "WARNING"
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        plan: dict[str, dict[str, str]] = {"before": {"PYTHONPATH": str(before)}} if before else {}
        plan["off"] = {}
        if not off_only:
            plan["on, none kept"] = {**on, "OTEL_TRACES_SAMPLER_ARG": "0"}
            plan |= {"on, 1 % kept": {**on, "OTEL_TRACES_SAMPLER_ARG": "0.01"}, "on, all kept": on}
        made = []
        for number, (name, own) in enumerate(plan.items()):
            arm = Arm(name, {**environment, "KEY_PREFIX": f"arm{number}:", **own}, folder)
            for service in arm.services.values():
                stack.callback(service.stop)
            made.append(arm)
        for arm in made:
            for service in arm.services.values():
                service.wait_ready()
        yield made, collector


def report(measured: list[Arm]) -> None:
    """Print the medians, and their ratio to `off`."""
    off = next(arm for arm in measured if arm.name == "off")
    print(f"{'CPU a request, µs':<20}" + "".join(f"{module:>26}" for module in PORTS))
    for arm in measured:
        cells = []
        for module in PORTS:
            median = statistics.median(arm.took[module])
            ratio = statistics.median(a / b for a, b in zip(arm.took[module], off.took[module], strict=True))
            cells.append(f"{median:>14.1f} ({ratio:>8.1%})")
        print(f"{arm.name:<20}" + "".join(f"{cell:>26}" for cell in cells))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.tracing", description=__doc__)
    parser.add_argument("--before", type=Path, help="another checkout, whose code is measured beside this one's")
    parser.add_argument("--off-only", action="store_true", help="with --before: only the two arms without traces")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5)
    parsed = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        arms(Path(folder), parsed.before, parsed.off_only) as (
            measured,
            collector,
        ),
    ):
        for arm in measured:
            arm.run(1, count=False)
        for _ in range(parsed.rounds):
            for arm in random.sample(measured, len(measured)):  # no arm always follows the same one
                arm.run(parsed.seconds)
        report(measured)
        print(f"{len(collector.spans)} spans collected in {collector.exports} exports")
    return 0


if __name__ == "__main__":
    sys.exit(main())
