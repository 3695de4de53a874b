"""A token for the stack on this machine: `python -m scripts.make_token "predict read"`, behind `make token`.

It is signed with JWT_SECRET (HS256) of the environment or `.env`, which whoever runs the stack has: for trying things
out, where there is no issuer of tokens. Only the standard library.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.stack import config as stack_config
from scripts.stack.errors import StackError
from shared.service.secret_files import read_secret

WITHOUT = (
    "tokens are made with a secret, and JWT_SECRET and JWT_SECRET_FILE are not set: make env writes one into .env; "
    "where JWKS_URL or JWT_KEY_FILE is set, get tokens from your issuer"
)


def token(secret: bytes, claims: Mapping[str, Any]) -> str:
    """A token of these claims (RFC 7515, section 7.1), signed by HMAC-SHA-256."""
    signed = ".".join(_part(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def claims_of(values: Mapping[str, str], scope: str, subject: str, now: int, lasts_s: int) -> dict[str, Any]:
    """What a token says.

    Raises:
        StackError: the settings do not say for whom tokens are.
    """
    missing = [name for name in ("JWT_ISSUER", "JWT_AUDIENCE") if not values.get(name)]
    if missing:
        raise StackError(f"{' and '.join(missing)} must be set too: any text, the same as the gateway has")
    issuer, audience = values["JWT_ISSUER"], values["JWT_AUDIENCE"]
    return {"iss": issuer, "aud": audience, "sub": subject, "scope": scope, "iat": now, "exp": now + lasts_s}


def secret_of(values: Mapping[str, str]) -> bytes:
    """The secret that tokens are signed with.

    Raises:
        StackError: there is none, or its file cannot be read.
    """
    path = values.get("JWT_SECRET_FILE")
    try:
        secret = read_secret("JWT_SECRET_FILE", Path(path)) if path else values.get("JWT_SECRET")
    except ValueError as error:
        raise StackError(str(error)) from error
    if not secret:
        raise StackError(WITHOUT)
    return secret.encode()


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a token."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_token", description="A token for the local stack.")
    parser.add_argument("scope", nargs="?", default="predict read", help="separated by spaces (default: %(default)s)")
    parser.add_argument("--subject", default="local", help="of whom it is (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=3600, help="how long it is valid (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        values = stack_config.load(os.environ).values
        claims = claims_of(values, given.scope, given.subject, int(time.time()), given.seconds)
        print(token(secret_of(values), claims))
    except StackError as error:
        print(f"millstream: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
