"""Run a command while no `make up` of this stack is at work: `python -m scripts.stack.alone make …`.

Two that install into one `.venv` at once would leave half of each. Only the standard library: nothing is installed yet.
"""

from __future__ import annotations

import os
import subprocess
import sys

from scripts.stack import config as stack_config
from scripts.stack.errors import StackError
from scripts.stack.record import command_lock
from scripts.stack.reports import complain, say_waiting


def main() -> int:
    """Run it; its exit code."""
    try:
        config = stack_config.load(os.environ)
        with command_lock(config.run, say_waiting):
            return subprocess.run(sys.argv[1:], check=False).returncode
    except StackError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
