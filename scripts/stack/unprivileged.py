"""How to run Postgres, which refuses to be root, when we are root.

First choice is a user namespace: the process sees itself as user 1000 while its files stay root's, so it works under
a private home folder and leaves no foreign owner behind. Where that is refused (most containers), another user.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scripts.stack.errors import StackError

NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
OTHER_ID = 65534  # "nobody" on every Linux


@dataclass(frozen=True)
class Wrapper:
    """What stands before a command so that it does not run as root, and who then owns its files."""

    prefix: tuple[str, ...] = ()
    owner: int | None = None

    def take_over(self, path: Path) -> None:
        """Give a file or folder to the user that the command will run as."""
        if self.owner is not None:
            os.chown(path, self.owner, self.owner)


def wrapper_for(euid: int, namespaces: bool) -> Wrapper:
    """The wrapper for an effective user id, given whether user namespaces may be made."""
    if euid != 0:
        return Wrapper()
    if namespaces:
        # setpriv, if it is installed: a change of credentials may clear the tie to the parent
        return Wrapper(prefix=(*NAMESPACE, *_tied_again()))
    ids = (f"--reuid={OTHER_ID}", f"--regid={OTHER_ID}", "--clear-groups")
    return Wrapper(prefix=("setpriv", *ids, "--pdeathsig", signal.SIGINT.name[3:], "--"), owner=OTHER_ID)


@functools.cache
def current_wrapper() -> Wrapper:
    """The wrapper for this process, tried out.

    Raises:
        StackError: we are root, and no way to stop being it works.
    """
    euid = os.geteuid()
    wrapper = wrapper_for(euid, namespaces=euid == 0 and _runs(NAMESPACE))
    if wrapper.prefix and not _runs(wrapper.prefix):
        raise StackError(
            "Postgres refuses to run as root, and neither `unshare --user` nor `setpriv` works here: "
            "run as another user, or set DATABASE_URL to a running Postgres"
        )
    return wrapper


def _tied_again() -> tuple[str, ...]:
    return ("setpriv", "--pdeathsig", signal.SIGINT.name[3:], "--") if shutil.which("setpriv") else ()


def _runs(prefix: tuple[str, ...]) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    done = subprocess.run([*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    return done.returncode == 0
