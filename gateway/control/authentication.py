"""All of authentication, as the settings want it: what finds out who asks, and what runs for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from gateway.control import key_set, known_keys
from gateway.control.api_keys import LEAST_PEPPER_BYTES
from gateway.control.authenticator import Authenticator, Off, Required
from gateway.control.key_admin import KeyAdmin
from gateway.control.key_set import KeySet
from gateway.control.key_store import KeyStore
from gateway.control.known_keys import KnownKeys
from gateway.control.signing_keys import SigningKey, read_hmac_key, read_public_keys
from gateway.control.tokens import FixedKeys, KeySource, Rules, Tokens
from gateway.settings import GatewaySettings
from shared.contract.errors import ConfigurationError
from shared.service.liveness import Liveness
from shared.service.secret_files import read_secret
from shared.streams.revocations import Revocations
from shared.streams.shard import Shard


class Authentication:
    """Authentication of one gateway.

    Attributes:
        authenticator: finds out who asks.
        key_admin: changes API keys; None where there are none.
    """

    authenticator: Authenticator

    def __init__(self, settings: GatewaySettings, shard: Shard) -> None:
        """Read the keys.

        Raises:
            ConfigurationError: a key cannot be read, or is too weak.
        """
        self._key_set: KeySet | None = None
        self._store: KeyStore | None = None
        self._known: KnownKeys | None = None
        self.key_admin: KeyAdmin | None = None
        if settings.auth == "off":
            self.authenticator = Off()
            return
        if settings.jwks_url is not None:
            self._key_set = KeySet(settings.jwks_url)
        if settings.api_key_pepper is not None:
            pepper, revocations = pepper_of(settings), Revocations(shard)
            self._store = KeyStore(settings)
            self._known = KnownKeys(self._store, revocations, pepper)
            self.key_admin = KeyAdmin(self._store, revocations, pepper, self._known.forget)
        self.authenticator = Required(_tokens(settings, self._key_set), self._known)

    async def start(self) -> None:
        """Fetch the keys of tokens, or try to: before the first request comes."""
        if self._key_set is not None:
            await self._key_set.refresh()

    def loops(self, stop: asyncio.Event, liveness: Liveness) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The background loops, by name."""
        loops = {}
        if self._key_set is not None:
            loops[key_set.LOOP] = self._key_set.run(stop, liveness)
        if self._known is not None:
            loops[known_keys.HEAR_LOOP] = self._known.hear(stop, liveness)
        return loops

    def turns(self) -> Mapping[str, tuple[float, Callable[[], Coroutine[Any, Any, object]]]]:
        """What is to be done again and again, by name, with the seconds between."""
        if self._known is None:
            return {}
        return {known_keys.LOOK_LOOP: (known_keys.LOOK_EVERY_S, self._known.refresh)}

    async def close(self) -> None:
        """End what is still under way."""
        for each in (self._key_set, self._known, self._store):
            if each is not None:
                await each.close()


def pepper_of(settings: GatewaySettings) -> bytes:
    """The secret that API keys are kept under.

    Raises:
        ConfigurationError: there is none, or it is too short.
    """
    pepper = b"" if settings.api_key_pepper is None else settings.api_key_pepper.get_secret_value().encode()
    if len(pepper) < LEAST_PEPPER_BYTES:
        has = f"it has {len(pepper)} bytes; " if pepper else ""
        raise ConfigurationError(
            f"API_KEY_PEPPER: {has}it must have {LEAST_PEPPER_BYTES} or more: openssl rand -hex 32"
        )
    return pepper


def _tokens(settings: GatewaySettings, fetched: KeySet | None) -> Tokens | None:
    keys: KeySource | None = fetched or _fixed_keys(settings)
    if keys is None or settings.jwt_issuer is None or settings.jwt_audience is None:
        return None
    rules = Rules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_max_age_s, settings.jwt_leeway_s)
    return Tokens(rules, keys, time.time)


def _fixed_keys(settings: GatewaySettings) -> FixedKeys | None:
    if settings.jwt_key_file is not None:
        path = settings.jwt_key_file
        return FixedKeys(_read("JWT_KEY_FILE", lambda: read_public_keys(read_secret("JWT_KEY_FILE", path).encode())))
    if settings.jwt_secret is not None:
        secret = settings.jwt_secret.get_secret_value().encode()
        return FixedKeys(_read("JWT_SECRET", lambda: [read_hmac_key(secret)]))
    return None


def _read(setting: str, reading: Callable[[], list[SigningKey]]) -> list[SigningKey]:
    try:
        return reading()
    except ValueError as error:
        raise ConfigurationError(f"{setting}: {error}") from error
