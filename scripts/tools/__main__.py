"""`python -m scripts.tools [KIT …]`: install all kits, or those named, if they are missing.

`--which PROGRAM` prints where a program is; `--freeze KIT` prints what an installed Python kit consists of, for
constraints/KIT.txt.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from scripts.tools.install import PIP, install
from scripts.tools.kit import ToolMissing, find, kits


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; the exit code says whether it worked."""
    parser = argparse.ArgumentParser(prog="python -m scripts.tools", description=__doc__)
    parser.add_argument("kits", nargs="*", metavar="KIT", help=f"any of {', '.join(kits())}")
    parser.add_argument("--which", metavar="PROGRAM", help="print where a program is")
    parser.add_argument("--freeze", metavar="KIT", choices=list(kits()), help="print the packages of an installed kit")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.kits if name not in kits()]
    if unknown:
        parser.error(f"no kit is called {', '.join(unknown)}; there are {', '.join(kits())}")
    if chosen.which:
        return _which(chosen.which)
    if chosen.freeze:
        python = kits()[chosen.freeze].folder() / "bin" / "python"
        return subprocess.run([*PIP, "--python", str(python), "freeze"], check=False).returncode
    wanted = [kits()[name] for name in chosen.kits] or [kit for kit in kits().values() if not kit.optional]
    failed = install(wanted)
    for why in failed:
        print(why, file=sys.stderr)
    return 1 if failed else 0


def _which(program: str) -> int:
    try:
        print(find(program))
    except ToolMissing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
