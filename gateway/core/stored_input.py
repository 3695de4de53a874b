"""What is kept of an input once its request has ended. Pure.

It is decided here, when the request is accepted, and travels with it: the script that ends a request puts it in the
place of the input (shared/streams/lua/kept.lua), so neither Redis nor Postgres holds the input from then on.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any

import orjson

from shared.contract.catalogue import ServedVersion, StoreInput
from shared.contract.errors import ConfigurationError
from shared.contract.given import with_options
from shared.contract.inputs import text_of

DIGEST, DIGEST_OF_JSON = "text_hmac_sha256", "input_hmac_sha256"
KEEP_OPTIONS = b"+"  # begins what is kept of other JSON, beside which the options stay (see kept.lua)
AS_IT_IS = b""
_NOTHING = b"{}"


def stored_input(kept: StoreInput, value: Any, options: bytes, redacted: Any, secret: bytes) -> bytes:
    """What is kept: JSON, after `KEEP_OPTIONS` if the options stay; or `AS_IT_IS` if input and options stay.

    Args:
        kept: what the version wants.
        value: the input as the model sees it, a text or other JSON.
        options: the text of a JSON object; only kept with the input.
        redacted: the input in the form in which it may be kept; None if it may be kept as it is.
        secret: of digests.
    """
    if kept == "none":
        return _NOTHING
    if kept == "digest":
        text = text_of(value)
        name, raw = (DIGEST, text.encode()) if text is not None else (DIGEST_OF_JSON, orjson.dumps(value))
        return orjson.dumps({name: hmac.digest(secret, raw, "sha256").hex()})
    if redacted is None or redacted == value:
        return AS_IT_IS
    if isinstance(redacted, str):
        return with_options(orjson.dumps({"text": redacted}), options)
    return KEEP_OPTIONS + orjson.dumps(redacted)


def check_secret(versions: Iterable[ServedVersion], secret: bytes) -> None:
    """Check that there is a secret if a version wants digests: without one, a short text is found by trying.

    Raises:
        ConfigurationError: there is none.
    """
    wanting = [each.label for each in versions if each.store_input == "digest"]
    if wanting and not secret:
        raise ConfigurationError(
            f'the catalogue says store_input = "digest" for {", ".join(wanting)}, and there is no secret for digests: '
            "set INPUT_DIGEST_SECRET_FILE to a file with 32 random characters or more (`openssl rand -hex 32`), or "
            'store_input = "none"'
        )
