"""A container's health check: does the service in it say that it is ready? The exit code answers.

    python -I -S shared/service/healthcheck.py GATEWAY_PORT 8000

asks the port that the variable names, or the second where it is unset or empty, as the services do. It is started every
few seconds, so it is a program of its own that imports a little of the standard library and nothing of the project.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Sequence

TIMEOUT_S = 4.0


def problem(port: int) -> str | None:
    """Why the service is not ready; None where it is."""
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
    """Ask, and print what is wrong: docker keeps it with the container's state."""
    variable, default = arguments
    why = problem(int(os.environ.get(variable) or default))
    if why:
        print(why)
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
