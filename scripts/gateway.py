"""Calling a gateway from the command line. Only the standard library.

Who asks is told by MILLSTREAM_TOKEN in the environment: a token, or an API key.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

TIMEOUT_S = 30.0
WHO = "set MILLSTREAM_TOKEN to a token (make token) or an API key (make api-key); see docs/AUTHENTICATION.md"


class Refused(Exception):
    """The gateway did not do it; the message says why."""


def call(method: str, url: str, body: Mapping[str, Any] | None = None) -> str:
    """The body of a successful answer.

    Raises:
        Refused: it was another answer, or none.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **who_asks()}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # nosec B310
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        hint = f": {WHO}" if error.code == 401 else ""
        raise Refused(f"{method} {url} was answered with {error.code}: {_detail(error)}{hint}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Refused(f"{url} does not answer ({reason}): see make status, or make up if nothing runs") from None


def who_asks(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The header that says who asks; none if MILLSTREAM_TOKEN is not set."""
    token = environ.get("MILLSTREAM_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _detail(error: urllib.error.HTTPError) -> str:
    """What the problem document says; of any other answer, the status in words."""
    try:
        return str(json.load(error)["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        return error.reason or "no reason given"
