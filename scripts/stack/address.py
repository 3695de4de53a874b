"""Where the gateway of the stack that runs here answers: `python -m scripts.stack.address [native|compose]`.

The native stack wrote its ports down when it started, docker compose knows what it published: neither `.env` nor the
defaults say where a stack is that was started with other ports. Only the standard library.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from scripts.stack import config as stack_config
from scripts.stack.config import StackConfig, with_ports
from scripts.stack.engine import COMPOSE_TIMEOUT_S, missing
from scripts.stack.errors import StackError
from scripts.stack.record import read_record
from scripts.stack.reports import complain
from scripts.stack.supervisord import is_running

NOTHING_RUNS = "nothing runs here: make up starts it; for a stack elsewhere, name its address: URL=http://…"
_PUBLISHED = re.compile(r"^(.+):([1-9]\d*)$")
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # nosec B104: what to ask, not where to listen


def native_gateway(config: StackConfig) -> str | None:
    """Where the native stack's gateway is; None if that stack does not run."""
    record = read_record(config.run)
    if record is None or not is_running(config.run):
        return None
    return f"http://localhost:{with_ports(config, record.ports).ports['GATEWAY_PORT']}"


def published(service: str, port: int, docker: str = "docker") -> str | None:
    """Where compose publishes a port of a service; None if it does not run, or there is no compose."""
    command = [docker, "compose", "port", service, str(port)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPOSE_TIMEOUT_S, check=False)
    except (subprocess.TimeoutExpired, OSError):
        return None
    found = _PUBLISHED.match(done.stdout.partition("\n")[0].strip()) if done.returncode == 0 else None
    return f"http://{_EVERY_ADDRESS.get(found[1], found[1])}:{found[2]}" if found else None


def running_gateway(config: StackConfig, stack: str = "") -> str:
    """Where the gateway is of the stack that runs: the native one if both do.

    Args:
        stack: native or compose; empty for whichever runs.

    Raises:
        StackError: it does not run.
    """
    url = native_gateway(config) if stack != "compose" else None
    if url is None and stack != "native":
        url = published("gateway", 8000)
    if url is None:
        lacking = missing("docker", COMPOSE_TIMEOUT_S) if stack == "compose" else None
        raise StackError(lacking or NOTHING_RUNS)
    return url


def main() -> int:
    """Print the address."""
    try:
        print(running_gateway(stack_config.load(os.environ), *sys.argv[1:]))
    except StackError as error:
        complain(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
