"""What the commands print: progress, the table of services, and how to go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from scripts.stack import prometheus
from scripts.stack.config import StackConfig
from scripts.stack.probes import load_errors, probe
from scripts.stack.record import Entry, Record
from scripts.stack.supervisord import Process

EXAMPLE = '{"model":"sentiment-analysis","text":"This is great!","version":"1.0.0"}'
EXAMPLE_QUERY = "SELECT id, status, confidence FROM predictions ORDER BY id DESC LIMIT 5"
# What a person is told for supervisord's words for a process that is not ready.
STATES = {"running": "starting", "exited": "backoff", "fatal": "failed"}
EXAMPLE_STREAM = "requests:sentiment-analysis:1.0.0"


def say(text: str = "") -> None:
    """Print at once: progress is watched."""
    print(text, flush=True)


def say_waiting() -> None:
    """Two commands that start the same stack take turns."""
    say("another make up of this stack is at work: waiting for it …")


def complain(text: str) -> None:
    print(f"millstream: {text}", file=sys.stderr, flush=True)


def summary(config: StackConfig, prometheus_runs: bool | None = None) -> Iterator[str]:
    """How to go on once the native stack is up."""
    redis = f"-u '{config.external_redis}'" if config.external_redis else f"-p {config.ports['REDIS_PORT']}"
    yield from _addresses(config, config.ports["ADMIN_PORT"])
    yield f"  metrics    {prometheus.hint(config, prometheus_runs)}"
    yield f"  history    make psql    ({EXAMPLE_QUERY})"
    yield f"  a stream   redis-cli {redis} {_example_stream(config)}"
    yield "             (empty unless requests wait) · make streams shows every stream, no redis-cli needed"
    yield "  more       make status · make logs · make down · make help"


def compose_summary(config: StackConfig) -> Iterator[str]:
    """How to go on once the stack is up in containers."""
    yield from _addresses(config, config.ports["GATEWAY_PORT"])
    prometheus_port, grafana_port = config.ports["PROMETHEUS_PORT"], config.values.get("GRAFANA_PORT", "3000")
    yield f"  Grafana    http://localhost:{grafana_port} (user admin, password in .env)"
    yield f"  Prometheus http://localhost:{prometheus_port}"
    yield "  history    docker compose exec postgres psql -U millstream millstream \\"
    yield f"               -c '{EXAMPLE_QUERY}'"
    yield f"  a stream   docker compose exec redis redis-cli {_example_stream(config)}"
    yield "             (empty unless requests wait)"
    yield "  more       make status · make logs · make down · make help"


def compose_trouble() -> Iterator[str]:
    """What to do if the stack in containers did not come up."""
    yield "millstream: the stack did not come up. What is wrong stands above, in make status and in make logs."
    yield "Where an image cannot be pulled, leave its service out. This compose.override.yaml leaves Grafana out:"
    yield "services:"
    yield "  grafana:"
    yield "    profiles: [left-out]"
    yield "Without Docker: make up STACK=native"


def _example_stream(config: StackConfig) -> str:
    return f"XRANGE {config.key_prefix}{EXAMPLE_STREAM} - + COUNT 5"


def _addresses(config: StackConfig, health_port: int) -> Iterator[str]:
    base = f"http://localhost:{config.ports['GATEWAY_PORT']}"
    yield "Millstream is up."
    for label, why in sorted(load_errors(health_port).items()):
        yield f"  NOT SERVED {label}: {why} (it is tried again by itself)"
    yield f"  console    {base}/"
    yield f"  API        {base}/api/v1/models"
    yield f"  docs       {base}/docs"
    yield f"  health     {base}/health"
    asks_who = config.values.get("AUTH", "required") != "off"
    who = ' -H "authorization: Bearer $MILLSTREAM_TOKEN"' if asks_who else ""
    if asks_who:
        yield "  who asks   export MILLSTREAM_TOKEN=$(make -s token), or an API key (docs/AUTHENTICATION.md)"
    yield "  try        " + f"curl -s -X POST {base}/api/v1/predict -H 'content-type: application/json'{who} \\"
    yield f"               -d '{EXAMPLE}'"


def readiness(record: Record, processes: Mapping[str, Process]) -> dict[str, bool]:
    """Whether each service answers right now, asked of all at once."""
    services = [each for each in record.entries if each.kind == "service"]
    with ThreadPoolExecutor(max_workers=len(services) or 1) as pool:
        answers = pool.map(lambda each: _answers(each, processes.get(each.name)), services)
    return {each.name: answer for each, answer in zip(services, answers, strict=True)}


def table(record: Record, processes: Mapping[str, Process], ready: Mapping[str, bool], now: float) -> Iterator[str]:
    """The services, one a line."""
    layout = "{:<21} {:<10} {:>8} {:>9} {:>8} {:>6}  {}"
    yield layout.format("SERVICE", "STATE", "PID", "UPTIME", "RESTARTS", "PORT", "READY")
    for each in record.entries:
        process = processes.get(each.name, Process(each.name, "stopped"))
        if each.kind == "task":
            yield layout.format(each.name, "done" if record.complete else "waiting", "-", "-", "-", "-", "-")
            continue
        yield layout.format(
            each.name,
            "ready" if ready[each.name] else STATES.get(process.state, process.state),
            process.pid or "-",
            duration(now - process.started_at) if process.pid else "-",
            process.restarts,
            each.port or "-",
            "yes" if ready[each.name] else "no",
        )


def failing(record: Record, ready: Mapping[str, bool]) -> list[str]:
    """The services that the stack needs and that do not answer."""
    return [each.name for each in record.entries if not each.optional and not ready.get(each.name, True)]


def duration(seconds: float) -> str:
    """Seconds, or minutes, or hours with minutes."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def step(name: str, state: str, port: int | None, elapsed_s: float, reason: str = "") -> str:
    """One line of progress: a service became ready or a task was done, or what it waits for."""
    where = f"port {port}" if port else reason
    return f"  [{elapsed_s:5.1f} s] {name:<21} {state:<6} {where}".rstrip()


def _answers(entry: Entry, process: Process | None) -> bool:
    return bool(process and process.pid and entry.port and probe(entry.name, entry.port))
