"""Where the server is and who asks: from arguments, or from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from millstream_client.calls import Call

DEFAULT_URL = "http://localhost:8000"
VERSION = "1.0.0"


@dataclass(frozen=True)
class Connection:
    """Where the server is and who asks.

    Attributes:
        url: of the server, without a `/` at its end.
        token: a token or an API key; empty for none.
        token_file: a file that holds one, read at each request, so that it may be exchanged.
    """

    url: str
    token: str = field(default="", repr=False)
    token_file: Path | None = None

    @classmethod
    def of(
        cls,
        url: str | None = None,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Connection:
        """What is not given comes from MILLSTREAM_URL, MILLSTREAM_TOKEN or MILLSTREAM_TOKEN_FILE.

        Raises:
            ValueError: the URL is none, or a token and a file are given at once.
        """
        environ = os.environ if environ is None else environ
        if token is None and token_file is None:
            token, token_file = environ.get("MILLSTREAM_TOKEN"), environ.get("MILLSTREAM_TOKEN_FILE")
        token = (token or "").strip()
        if token and token_file:
            raise ValueError("a token and a file that holds one are given: leave one of them out")
        if not token.isascii() or not token.isprintable():
            raise ValueError("the token has characters that no token has: was it copied whole?")
        checked = _checked((url or environ.get("MILLSTREAM_URL") or DEFAULT_URL).strip())
        return cls(checked, token, Path(token_file) if token_file else None)

    def headers(self, call: Call) -> dict[str, str]:
        """Headers of a call.

        Raises:
            OSError: the file with the token cannot be read.
        """
        kind = {"Content-Type": "application/json"} if call.body is not None else {}
        return {"User-Agent": f"millstream-client/{VERSION}", **self.headers_of_caller(), **kind, **call.headers}

    def headers_of_caller(self) -> dict[str, str]:
        """The header that says who asks, if anybody does.

        Raises:
            OSError: the file with the token cannot be read.
        """
        token = self.token_file.read_text(encoding="ascii").strip() if self.token_file else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a server, such as {DEFAULT_URL}")
    if parts.username or parts.password:
        raise ValueError("the address holds a user or a password: who asks is told by a token")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has a ? or a #: give only where the server is, such as {DEFAULT_URL}")
    return url.rstrip("/")
