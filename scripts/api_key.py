"""Make an API key: `python -m scripts.api_key URL NAME`, behind `make api-key`. Prints what the gateway answers.

The key stands in the answer, and nowhere else: keep it. MILLSTREAM_TOKEN must be one of an administrator.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from scripts.gateway import Refused, call


def body_of(given: argparse.Namespace) -> dict[str, Any]:
    """What is asked for."""
    body: dict[str, Any] = {"name": given.name, "scopes": given.scopes.split()}
    if given.models:
        body["models"] = given.models.split()
    for name in ("tenant", "profile"):
        if getattr(given, name):
            body[name] = getattr(given, name)
    if given.days:
        body["expires_in_days"] = given.days
    return body


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code says whether a key was made."""
    parser = argparse.ArgumentParser(prog="python -m scripts.api_key", description="Make an API key.")
    parser.add_argument("url", help="where the gateway is, such as http://localhost:8000")
    parser.add_argument("name", help="of whom it is; keys of one name are one caller's")
    parser.add_argument("--scopes", default="predict read", help="separated by spaces (default: %(default)s)")
    parser.add_argument("--models", default="", help="patterns of models, separated by spaces (default: all)")
    parser.add_argument("--tenant", default="", help="whom it belongs to (default: your own)")
    parser.add_argument("--profile", default="", help="the name of its limits")
    parser.add_argument("--days", type=int, default=0, help="until it expires (default: 365)")
    given = parser.parse_args(arguments)
    try:
        print(call("POST", f"{given.url.rstrip('/')}/api/v1/api-keys", body_of(given)))
    except Refused as refused:
        print(f"millstream: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
