"""All of authentication, as the settings want it: what finds out who asks, and what runs for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from gateway.control import key_set
from gateway.control.authenticator import Authenticator, Off, Required
from gateway.control.key_set import KeySet
from gateway.control.signing_keys import SigningKey, read_public_keys, read_secret
from gateway.control.tokens import FixedKeys, KeySource, Rules, Tokens
from gateway.settings import GatewaySettings
from shared.contract.errors import ConfigurationError
from shared.service.liveness import Liveness
from shared.service.secret_files import read_secret_file

class Authentication:
    """Authentication of one gateway.

    Attributes:
        authenticator: finds out who asks.
    """

    authenticator: Authenticator

    def __init__(self, settings: GatewaySettings) -> None:
        """Read the keys.

        Raises:
            ConfigurationError: a file with a key cannot be read, or holds none.
        """
        self._key_set = None
        if settings.auth == "off":
            self.authenticator = Off()
            return
        if settings.jwks_url is not None:
            self._key_set = KeySet(settings.jwks_url)
        self.authenticator = Required(_tokens(settings, self._key_set))

    async def start(self) -> None:
        """Fetch the keys of tokens, or try to: before the first request comes."""
        if self._key_set is not None:
            await self._key_set.refresh()

    def loops(self, stop: asyncio.Event, liveness: Liveness) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The background loops, by name."""
        return {} if self._key_set is None else {key_set.LOOP: self._key_set.run(stop, liveness)}

    async def close(self) -> None:
        """End what is still under way."""
        if self._key_set is not None:
            await self._key_set.close()


def _tokens(settings: GatewaySettings, fetched: KeySet | None) -> Tokens | None:
    keys: KeySource | None = fetched or _fixed_keys(settings)
    if keys is None or settings.jwt_issuer is None or settings.jwt_audience is None:
        return None
    rules = Rules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_max_age_s, settings.jwt_leeway_s)
    return Tokens(rules, keys, time.time)


def _fixed_keys(settings: GatewaySettings) -> FixedKeys | None:
    if settings.jwt_key_file is not None:
        return FixedKeys(_read("JWT_KEY_FILE", settings.jwt_key_file, read_public_keys))
    if settings.jwt_secret_file is not None:
        return FixedKeys(_read("JWT_SECRET_FILE", settings.jwt_secret_file, lambda secret: [read_secret(secret)]))
    return None


def _read(setting: str, path: Path, reading: Callable[[bytes], list[SigningKey]]) -> list[SigningKey]:
    content = read_secret_file(setting, path)
    try:
        return reading(content)
    except ValueError as error:
        raise ConfigurationError(f"{setting}: {path} {error}") from error
