"""A container's health check: exits with 0 if the service in it is ready, otherwise with 1.

    python -I -S shared/service/healthcheck.py GATEWAY_PORT 8000

asks the port in the environment variable GATEWAY_PORT, or port 8000 if that is unset or empty, as the service does. It
is started every few seconds, so for a quick start it imports little of the standard library and nothing of the project.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Sequence

TIMEOUT_S = 4.0


def problem(port: int) -> str | None:
    """Why the service is not ready; None if it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return None if answer.status == 200 else f"{answer.status}: {answer.read(500).decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return f"port {port} does not answer: {error!r}"
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> int:
    """Check, and print what is wrong: Docker keeps the output in the container's state."""
    variable, default = arguments
    why = problem(int(os.environ.get(variable) or default))
    if why:
        print(why)
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
