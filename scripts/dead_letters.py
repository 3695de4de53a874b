"""Dead letters of a gateway: `python -m scripts.dead_letters URL [replay|delete ID]`, behind `make dead-letters`.

Prints what the gateway answers. If it refuses, or does not answer, the exit code is 1 and the reason is told in words.
Only the standard library.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from urllib.parse import quote

from scripts.gateway import Refused, call


def ask(url: str, action: str, letter: str | None) -> str:
    """Do one thing with dead letters; what to print.

    Raises:
        Refused: it was not done.
    """
    letters = f"{url.rstrip('/')}/api/v1/dead-letters"
    if letter is None:
        return call("GET", letters)
    one = f"{letters}/{quote(letter, safe='')}"
    if action == "replay":
        return call("POST", f"{one}/replay")
    call("DELETE", one)
    return f"deleted {letter}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code says whether it was done."""
    parser = argparse.ArgumentParser(prog="python -m scripts.dead_letters", description="What was given up on.")
    parser.add_argument("url", help="where the gateway is, such as http://localhost:8000")
    parser.add_argument("action", nargs="?", default="list", choices=("list", "replay", "delete"))
    parser.add_argument("id", nargs="?", help="the dead letter to replay or delete")
    given = parser.parse_args(arguments)
    if (given.action == "list") != (given.id is None):
        parser.error("replay and delete need the id of a dead letter, a list has none")
    try:
        print(ask(given.url, given.action, given.id))
    except Refused as refused:
        print(f"millstream: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
