"""Which stack `make up` means: docker compose if an engine answers, else native. Only the standard library.

`python -m scripts.stack.engine` prints `native` or `compose`; with the argument `summary`, how to go on after compose,
and with `trouble`, how to go on if compose did not come up.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from scripts.stack import config as stack_config
from scripts.stack.errors import StackError
from scripts.stack.reports import compose_summary, compose_trouble
from scripts.stack.supervisord import is_running

ANSWER_TIMEOUT_S = 3.0


def choose(native_is_running: bool, docker_answers: bool) -> str:
    """A native stack that runs is meant whatever else there is, or `make down` would miss it."""
    return "compose" if docker_answers and not native_is_running else "native"


def docker_answers(docker: str = "docker") -> bool:
    """Whether an engine answers in time and compose is there."""
    if shutil.which(docker) is None:
        return False
    return all(_succeeds([docker, *arguments]) for arguments in (["info"], ["compose", "version"]))


def _succeeds(command: list[str]) -> bool:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_TIMEOUT_S, check=False
        )
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode == 0


def main() -> int:
    """Print the choice, or what is asked for."""
    try:
        config = stack_config.load(os.environ)
    except StackError as error:
        print(f"millstream: {error}", file=sys.stderr)
        return 1
    if sys.argv[1:] == ["summary"]:
        print("\n".join(compose_summary(config)))
    elif sys.argv[1:] == ["trouble"]:
        print("\n".join(compose_trouble()))
    else:
        native = is_running(config.run)
        print(choose(native, not native and docker_answers()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
