"""What the stack asks its services: whether they are ready, what they wait for, which versions are not served."""

from __future__ import annotations

import http.client
import json

from scripts.stack import prometheus
from scripts.stack.ports import LOOPBACK, answers
from scripts.stack.redis import ping

PROBE_TIMEOUT_S = 2.0


def http_ready(port: int, path: str = "/readyz") -> bool:
    """Whether a local service says that it is ready."""
    return _get(port, path)[0] == 200


def http_reason(port: int) -> str:
    """Why a local service is not ready, as it says itself; empty if it does not."""
    try:
        return str(json.loads(_get(port, "/readyz")[1])["reason"])
    except (ValueError, KeyError, TypeError):
        return ""


def load_errors(port: int) -> dict[str, str]:
    """Why versions are not served, by their labels, as a gateway says at this port; empty if it does not say."""
    try:
        return dict(json.loads(_get(port, "/health")[1])["load_errors"])
    except (ValueError, KeyError):
        return {}


def _get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a local service's answer; 0 and nothing if there is none."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def probe(name: str, port: int) -> bool:
    """Whether a service of the stack answers right now."""
    if name == "postgres":
        return answers(port)
    if name == "redis":
        return ping(port)
    return http_ready(port, "/-/ready") if name == prometheus.NAME else http_ready(port)
