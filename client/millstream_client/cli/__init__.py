"""The command line, `millstream`. Needs the extra `cli`: typer and rich."""

from __future__ import annotations

import sys


def main() -> int:
    """Run; the exit code is told in `millstream_client.cli.console`."""
    try:
        from millstream_client.cli.program import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        print(f"millstream needs {error.name}: pip install typer rich", file=sys.stderr)
        return 2
    return run()
