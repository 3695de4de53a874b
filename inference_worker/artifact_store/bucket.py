"""Reading a bucket with obstore, and the words for what goes wrong. Imported only if there is an artifact in a bucket:
obstore is the extra `object-store`.
"""

from __future__ import annotations

import asyncio
import configparser
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from obstore import get_async, get_range_async, head_async
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from inference_worker.settings import WorkerSettings
from shared.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import ClientConfig

BLOCK_BYTES = 8 * 1024 * 1024
BLOCKS_AT_ONCE = 4
_SIZES_AT_ONCE = 8
_REQUEST_S = 60.0  # a store that gives less than a block in this time counts as away
_CONNECT_S = 5.0
_RETRIES = 3
_MOST_CHARS = 300
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CREDENTIALS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_ERRORS = (OSError, ValueError, BaseError)
Read = TypeVar("Read")


class Bucket:
    """A bucket, as far as it is read.

    Attributes:
        name: of the bucket.
    """

    def __init__(self, name: str, settings: WorkerSettings) -> None:
        """Connects to nothing yet.

        Raises:
            ConfigurationError: the settings are wrong.
        """
        self.name = name
        self._place = settings.aws_endpoint_url or "AWS"
        self._store = _open(name, settings)

    async def read(self, key: str, most_bytes: int) -> bytes:
        """The content of an object.

        Raises:
            ConfigurationError: it cannot be read, or is larger.
        """
        result = await self._asked(key, get_async(self._store, key))
        size = result.meta["size"]
        if size > most_bytes:
            raise ConfigurationError(f"{key} has {size} bytes: at most {most_bytes} are allowed")
        return bytes(await self._asked(key, result.bytes_async()))

    async def sizes(self, keys: Mapping[str, str]) -> dict[str, int]:
        """The size of each object, by the name that the key goes with.

        Raises:
            ConfigurationError: one of them is not there, or may not be read.
        """
        alone = asyncio.Semaphore(_SIZES_AT_ONCE)

        async def size_of(key: str) -> int:
            async with alone:
                return int((await self._asked(key, head_async(self._store, key)))["size"])

        return dict(zip(keys, await asyncio.gather(*map(size_of, keys.values())), strict=True))

    async def blocks(self, key: str, start: int, size: int) -> AsyncIterator[bytes]:
        """What an object has from `start` on, in order; some blocks are fetched at the same time.

        Raises:
            ConfigurationError: it cannot be read, or has less than `size` bytes.
        """
        for first in range(start, size, BLOCK_BYTES * BLOCKS_AT_ONCE):
            starts = range(first, min(first + BLOCK_BYTES * BLOCKS_AT_ONCE, size), BLOCK_BYTES)
            lengths = [min(BLOCK_BYTES, size - each) for each in starts]
            asked = (
                self._asked(key, get_range_async(self._store, key, start=at, length=length))
                for at, length in zip(starts, lengths, strict=True)
            )
            for block, length in zip(await asyncio.gather(*asked), lengths, strict=True):
                if len(block) != length:
                    raise ConfigurationError(f"{key} ended early: it was changed meanwhile, or is truncated")
                yield bytes(block)

    async def _asked(self, key: str, answer: Awaitable[Read]) -> Read:
        try:
            return await answer
        except _ERRORS as error:
            raise ConfigurationError(_words(error, self.name, key, self._place)) from None


def _open(name: str, settings: WorkerSettings) -> S3Store:
    endpoint = settings.aws_endpoint_url
    given = {"endpoint": endpoint, "region": settings.aws_region, **_credentials(settings)}
    options: ClientConfig = {"timeout": timedelta(seconds=_REQUEST_S), "connect_timeout": timedelta(seconds=_CONNECT_S)}
    if endpoint is not None and endpoint.startswith("http://"):
        options["allow_http"] = True
    backoff = {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2}
    retries: Any = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=2 * _REQUEST_S), "backoff": backoff}
    config: Any = {key: value for key, value in given.items() if value is not None}
    try:
        return S3Store(name, client_options=options, retry_config=retries, **config)
    except _ERRORS as error:
        raise ConfigurationError(f"the settings AWS_… are wrong: {_first_line(error)}") from None


def _credentials(settings: WorkerSettings) -> dict[str, str]:
    """Those of the settings, or of the file, which is read each time: it may be another one by now.

    What neither has, obstore finds: in other variables, or by the role of the pod or machine.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    secret = settings.aws_secret_access_key
    if settings.aws_access_key_id is not None and secret is not None:
        return {"access_key_id": settings.aws_access_key_id, "secret_access_key": secret.get_secret_value()}
    path = settings.aws_shared_credentials_file
    if path is None:
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        section = parser["default"]
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError) as error:
        kind = error.strerror if isinstance(error, OSError) else "it has no section [default], or is no such file"
        raise ConfigurationError(f"AWS_SHARED_CREDENTIALS_FILE ({path}) cannot be read: {kind}") from None
    return {name.removeprefix("aws_"): section[name] for name in _CREDENTIALS if name in section}


def _words(error: Exception, bucket: str, key: str, place: str) -> str:
    text = str(error)
    code = found[1] if (found := _CODE.search(text)) else ""
    if "169.254.169.254" in text or "169.254.170.2" in text:
        return (
            "there are no credentials for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_SHARED_CREDENTIALS_FILE, or give the pod or machine a role"
        )
    if code == "NoSuchBucket":
        return f"{place} has no bucket {bucket!r}: look at the address and at AWS_ENDPOINT_URL"
    if isinstance(error, FileNotFoundError):
        return f"there is no {key!r} in bucket {bucket!r} of {place}: look at the address, and whether all was uploaded"
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return (
            f"{key!r} in bucket {bucket!r} of {place} may not be read ({code or 'access denied'}): look at the "
            "credentials and their right s3:GetObject; who may not list a bucket is told this of what is not there, too"
        )
    if "redirect" in text:
        return f"bucket {bucket!r} of {place} is in another region: set AWS_REGION"
    return (
        f"{key!r} in bucket {bucket!r} of {place} cannot be read now: {_first_line(error)}; the next try goes on where "
        "this one ended"
    )


def _first_line(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return line if len(line) <= _MOST_CHARS else f"{line[:_MOST_CHARS]}…"
