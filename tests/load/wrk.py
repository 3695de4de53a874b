"""wrk, a closed-loop HTTP client in C: it leaves the cores to what is measured.

Closed loop: each connection sends its next request when the last is answered. That gives the peak rate; it hides
stalls, since a stalled server is sent nothing meanwhile.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from typing import NamedTuple

_SCRIPT = """
wrk.method = "POST"
wrk.body = {body}
{headers}
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.stderr:write(string.format("%d %d %d %f %f\\n", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99)))
end
"""


class Run(NamedTuple):
    """What was seen: answers, answers/s, latencies in ms."""

    answers: int
    rate: float
    p50_ms: float
    p99_ms: float


def measure(
    port: int,
    path: str,
    body: Mapping[str, object],
    connections: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> Run:
    """Send one request again and again, over so many connections.

    Raises:
        SystemExit: wrk is not installed, or an answer was no success.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed: apt install wrk, or brew install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        lines = {"Content-Type": "application/json", **(headers or {})}
        told = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in lines.items())
        script.write(_SCRIPT.format(body=json.dumps(json.dumps(body)), headers=told))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout=30s", "-s", script.name]
        command.append(f"http://127.0.0.1:{port}{path}")
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60)
    answers, duration_us, failed, p50_us, p99_us = map(float, re.findall(r"[\d.]+", done.stderr)[-5:])
    if failed:
        raise SystemExit(f"{failed:.0f} of {answers:.0f} answers of {path} were no success")
    return Run(int(answers), answers / duration_us * 1e6, p50_us / 1000, p99_us / 1000)
