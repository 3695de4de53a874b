"""Sending one callback: signed, to an address that was looked at, and to no other.

The name of a receiver is looked up once for each try, every address found must be a public one, and the connection goes
to one of those: what the name says a moment later makes no difference. Redirects are not followed, and nothing of the
answer is read but its status. Signatures are those of Standard Webhooks (v1, HMAC-SHA-256).
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.contract.callbacks import is_public, refusal_of_url
from shared.service.version import software_version

WITHIN_S = 10.0
GONE = 410
MOST_SECRETS = 2  # the new one and the old one
_PREFIX = "whsec_"


class Undelivered(Exception):
    """A callback was not taken; why, as whoever asked for it may know.

    Attributes:
        detail: why, for who runs this: it may name addresses of the network.
        is_final: it never will be.
    """

    def __init__(self, why: str, detail: str = "", *, is_final: bool = False) -> None:
        super().__init__(why)
        self.detail = detail or why
        self.is_final = is_final


class NotPublic(OSError):
    """A name leads to an address of a private network."""


class PublicResolver(AbstractResolver):
    """Looks names up, and refuses what leads anywhere but into the public internet."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        addresses = [str(each[4][0]) for each in found]
        for each in addresses:
            if not is_public(each):
                raise NotPublic(f"{host} leads to {each}, an address of a private network")
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=0)
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is kept."""


def keys_of(secrets: str) -> tuple[bytes, ...]:
    """The keys that secrets (`whsec_` and base64) stand for, one in a line.

    Raises:
        ValueError: one is none, or too short or long, or there are too many.
    """
    keys = tuple(_key_of(each) for each in secrets.split())
    if not 1 <= len(keys) <= MOST_SECRETS:
        raise ValueError(
            f"WEBHOOK_SECRET must hold one secret, or {MOST_SECRETS} in lines of their own: has {len(keys)}"
        )
    return keys


def _key_of(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise ValueError("WEBHOOK_SECRET must be `whsec_` and base64, as `openssl rand -base64 32` makes it") from None
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("WEBHOOK_SECRET must be `whsec_` and the base64 of 24 to 64 bytes")
    return key


def signed(keys: Sequence[bytes], message_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers of a message, with a signature by each key: who knows either of them can verify it."""
    content = f"{message_id}.{at_s}.".encode() + body
    digests = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{each}" for each in digests),
    }


class WebhookSender:
    """Sends callbacks.

    Args:
        secrets: see `keys_of`.
        hosts: that they may go to, see `shared.contract.callbacks.hosts_of`.
        private: whether http and addresses of private networks are allowed.
    """

    def __init__(self, secrets: str, hosts: tuple[str, ...], *, private: bool) -> None:
        self._keys, self._hosts, self._private = keys_of(secrets), hosts, private
        self._session: ClientSession | None = None

    async def send(self, url: str, message_id: str, body: bytes) -> None:
        """Send one.

        Raises:
            Undelivered: it was not taken.
        """
        if (refusal := refusal_of_url(url, self._hosts, private=self._private)) is not None:
            raise Undelivered(refusal)
        headers = {
            **signed(self._keys, message_id, int(time.time()), body),
            "Content-Type": "application/json",
            "User-Agent": f"millstream/{software_version()}",
        }
        try:
            async with self._open().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except TimeoutError:
            raise Undelivered(f"no answer within {WITHIN_S:g} s") from None
        except (ClientError, OSError, ValueError) as error:
            raise _unconnected(error, urlsplit(url).hostname or "") from None
        if not 200 <= status < 300:
            why = "redirects are not followed" if 300 <= status < 400 else "answered"
            raise Undelivered(f"{why}: {status}", is_final=status == GONE)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> ClientSession:
        if self._session is None:
            resolver = None if self._private else PublicResolver()
            # Each try is a connection of its own: a kept one would go to what the name said before.
            connector = TCPConnector(resolver=resolver, use_dns_cache=False, limit=0, force_close=True)
            timeout = ClientTimeout(total=WITHIN_S)
            self._session = ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self._session


def _unconnected(error: BaseException, host: str) -> Undelivered:
    cause = error if isinstance(error, NotPublic) else error.__cause__
    if isinstance(cause, NotPublic):
        return Undelivered(f"{host} leads to an address of a private network", str(cause))
    return Undelivered(f"no connection to {host}", f"{host}: {getattr(error, 'os_error', error)}"[:300])
