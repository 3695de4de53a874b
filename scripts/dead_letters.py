"""Dead letters of a gateway: `python -m scripts.dead_letters URL [replay|delete ID]`, behind `make dead-letters`.

Prints what the gateway answers. If it refuses, or does not answer, the exit code is 1 and the reason is told in words.
Only the standard library.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import quote

TIMEOUT_S = 30.0


class Refused(Exception):
    """The gateway did not do it; the message says why."""


def call(method: str, url: str) -> str:
    """The body of a successful answer.

    Raises:
        Refused: it was another answer, or none.
    """
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, method=method), timeout=TIMEOUT_S
        ) as answer:  # nosec B310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise Refused(f"{method} {url} was answered with {error.code}: {_detail(error)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Refused(f"{url} does not answer ({reason}): see make status, or make up if nothing runs") from None


def _detail(error: urllib.error.HTTPError) -> str:
    """What the problem document says; of any other answer, the status in words."""
    try:
        return str(json.load(error)["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return error.reason or "no reason given"


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
