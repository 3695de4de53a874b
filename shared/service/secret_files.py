"""Secrets from files: `X_FILE` names a file that holds X, as Docker and Kubernetes mount them; passwords put into URLs.

Only the standard library: the local stack reads its stores' URLs in the same way before anything is installed.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

MOST_BYTES = 64 * 1024


def read_secret(variable: str, path: Path) -> str:
    """What a file holds, without the newline at its end.

    Args:
        variable: that names the file.

    Raises:
        ValueError: there is no secret in it; the message names variable and path, and nothing that the file holds.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{variable}={path} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise ValueError(f"{variable}={path} is larger than 64 kB: the file must hold the secret and nothing else")
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{variable}={path} is not text (UTF-8)") from None
    if not secret:
        raise ValueError(f"{variable}={path} is empty")
    return secret


def with_password(variable: str, url: str, password: str) -> str:
    """A URL with a password in it, percent-encoded.

    Args:
        variable: that holds the URL.

    Raises:
        ValueError: the URL has a password already.
    """
    scheme, _, rest = url.partition("://")
    end = min((rest.find(sign) for sign in "/?#" if sign in rest), default=len(rest))
    login, _, hosts = rest[:end].rpartition("@")
    if ":" in login:
        raise ValueError(f"{variable} holds a password, and {variable}_PASSWORD is given too: leave one out")
    return f"{scheme}://{login}:{quote(password, safe='')}@{hosts}{rest[end:]}"
