"""The containers of the stack, by docker's own commands."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.processes import wait_until

_HELPER_IMAGE = "millstream/gateway:local"
_HEALTHY_WITHIN_S = 120.0


@dataclass(frozen=True)
class State:
    """What docker says of a container at one moment."""

    pid: int
    restarts: int
    exit_code: int
    started_at: str
    health: str


def run(*words: str) -> str:
    """Run docker; the answer is its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr.strip()}"
    return done.stdout


def of(service: str) -> list[str]:
    """The ids of a service's containers, running or not."""
    return run("compose", "ps", "--all", "--quiet", service).split()


def state(container: str) -> State:
    """Ask for a container's state."""
    found: dict[str, Any] = json.loads(run("inspect", container))[0]
    said = found["State"]
    health = said.get("Health", {}).get("Status", "")
    return State(said["Pid"], found["RestartCount"], said["ExitCode"], said["StartedAt"], health)


def kill(container: str) -> None:
    """SIGKILL to a container's first process, from outside of it, as the kernel does when memory is short.

    `docker kill` would count as a wish of ours, and nothing would be started again.
    """
    rights = ["--pid=host", "--user=0", "--cap-drop=ALL", "--cap-add=KILL", "--network=none", "--entrypoint=sh"]
    run("run", "--rm", *rights, _HELPER_IMAGE, "-c", f"kill -KILL {state(container).pid}")


def wait_restarted(container: str, before: State) -> None:
    """Wait until docker has started it again and it is healthy."""
    wait_until(lambda: state(container).restarts > before.restarts, "it is started again", _HEALTHY_WITHIN_S)
    wait_healthy(container)


def wait_healthy(container: str) -> None:
    """Wait until it is healthy."""
    wait_until(lambda: state(container).health == "healthy", "it is healthy", _HEALTHY_WITHIN_S)


def stop(service: str) -> list[State]:
    """SIGTERM, with the grace that compose.yaml gives; how its containers ended."""
    run("compose", "stop", service)
    return [state(each) for each in of(service)]


def start(service: str) -> None:
    """Start what was stopped."""
    run("compose", "start", service)
    for each in of(service):
        wait_healthy(each)


def scale(service: str, number: int) -> None:
    """Have so many containers of a service, healthy; the others stay as they are."""
    run("compose", "up", "--detach", "--wait", "--no-deps", "--no-recreate", f"--scale={service}={number}", service)
