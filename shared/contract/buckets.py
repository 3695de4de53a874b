"""Addresses of artifacts in buckets: `s3://bucket/path@sha256:…`. Pure.

The digest is that of the object `SHA256SUMS` below the path, which names each file with its own, as the command
sha256sum prints them. So an address means the same files for ever, whoever may write into the bucket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from shared.contract.errors import ConfigurationError

BUCKET_PREFIX = "s3://"
MANIFEST = "SHA256SUMS"

_NAME = r"(?!\.{1,2}(?:/|@|$))[A-Za-z0-9_.+=-]+"
_PATH = rf"{_NAME}(?:/{_NAME})*"
_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_ADDRESS = re.compile(rf"s3://(?P<bucket>{_BUCKET})/(?P<path>{_PATH})@sha256:(?P<digest>[0-9a-f]{{64}})", re.ASCII)
_PLACE = re.compile(rf"s3://{_BUCKET}(?:/{_PATH})?/?", re.ASCII)
_FILE = re.compile(_PATH, re.ASCII)


class BucketAddress(NamedTuple):
    """An artifact in a bucket.

    Attributes:
        path: of the folder in the bucket, without a slash at its ends.
        digest: SHA-256 of its `SHA256SUMS`, in hexadecimal digits.
    """

    bucket: str
    path: str
    digest: str

    @property
    def folder(self) -> str:
        """It without the digest, for messages."""
        return f"{BUCKET_PREFIX}{self.bucket}/{self.path}"


def parse_address(artifact: str) -> BucketAddress:
    """Read an address.

    Raises:
        ConfigurationError: it is none; the message says what is one.
    """
    found = _ADDRESS.fullmatch(artifact)
    if found is None:
        raise ConfigurationError(
            f"{artifact!r} names no artifact of a bucket: write s3://bucket/path@sha256: and the 64 hexadecimal digits "
            f"that `sha256sum {MANIFEST}` prints, with names of A-Z, a-z, 0-9, '_', '.', '+', '=' and '-'"
        )
    return BucketAddress(**found.groupdict())


def is_place(text: str) -> bool:
    """Whether it names a bucket, or a path in one."""
    return _PLACE.fullmatch(text) is not None


def is_within(address: BucketAddress, places: Iterable[str]) -> bool:
    """Whether an artifact is in one of these places, or below it."""
    return any(f"{address.folder}/".startswith(f"{place.rstrip('/')}/") for place in places)


def is_file_name(name: str) -> bool:
    """Whether it may be the name of a file of an artifact: relative, and nowhere above."""
    return len(name) <= 255 and _FILE.fullmatch(name) is not None
