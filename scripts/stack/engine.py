"""Which stack `make up` means: docker compose if an engine answers, else native. Only the standard library.

`python -m scripts.stack.engine` prints `native` or `compose`; with the argument `summary`, how to go on after compose,
and with `trouble`, how to go on if compose did not come up. `need-docker` and `need-compose` fail, and say what is
missing, if Docker cannot be used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from scripts.stack import config as stack_config
from scripts.stack.errors import StackError
from scripts.stack.reports import complain, compose_summary, compose_trouble
from scripts.stack.supervisord import is_running

ANSWER_TIMEOUT_S = 3.0  # while it is only one of two choices
COMPOSE_TIMEOUT_S = 30.0  # once it was asked for
NO_DOCKER = "Docker is not installed (https://docs.docker.com/engine/install)"
NO_COMPOSE = (
    "docker has no compose plugin: install it (Debian: docker-compose-plugin of Docker's own packages, "
    "Ubuntu: docker-compose-v2; https://docs.docker.com/compose/install)"
)
NO_ENGINE = (
    "no Docker engine answers: start it (systemctl start docker), see that you may use it (group docker), "
    "or name another (DOCKER_HOST)"
)


def choose(native_is_running: bool, docker_answers: bool) -> str:
    """A native stack that runs is meant whatever else there is, or `make down` would miss it."""
    return "compose" if docker_answers and not native_is_running else "native"


def docker_answers(docker: str = "docker") -> bool:
    """Whether an engine answers in time and compose is there."""
    return missing(docker, ANSWER_TIMEOUT_S) is None


def missing(docker: str, timeout_s: float, compose: bool = True) -> str | None:
    """What Docker, and compose if it is needed, lack on this machine, and what to do; None if both can be used."""
    if shutil.which(docker) is None:
        return NO_DOCKER
    if compose and not _succeeds([docker, "compose", "version"], timeout_s):
        return NO_COMPOSE
    return None if _succeeds([docker, "info"], timeout_s) else NO_ENGINE


def _succeeds(command: list[str], timeout_s: float) -> bool:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode == 0


def main() -> int:
    """Print the choice, or what is asked for."""
    try:
        config = stack_config.load(os.environ)
    except StackError as error:
        complain(str(error))
        return 1
    if sys.argv[1:] in (["need-docker"], ["need-compose"]):
        lacking = missing("docker", COMPOSE_TIMEOUT_S, compose=sys.argv[1] == "need-compose")
        if lacking:
            complain(f"{lacking}. Without Docker: make up STACK=native")
            return 1
    elif sys.argv[1:] == ["summary"]:
        print("\n".join(compose_summary(config)))
    elif sys.argv[1:] == ["trouble"]:
        print("\n".join(compose_trouble()))
    else:
        native = is_running(config.run)
        print(choose(native, not native and docker_answers()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
