"""The sentiment data: short texts with a human rating, from the source archive of `vaderSentiment` (MIT).

Sentences of film reviews, product reviews, editorials and tweets, each rated from -4 to 4 by twenty people (Hutto &
Gilbert, VADER, ICWSM 2014). The archive is fetched when it is needed, and its texts are never committed. The split is
by article or product, so that no author is on both sides; held-out accuracy is defined on its `test` part.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.artifacts import ARTIFACTS, only_builder, sha256_of
from models.packages import VADER, download, read_member

Part = Literal["train", "dev", "test"]

_FILES = {
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
    "tweet": "tweets_GroundTruth.txt",
}
_GROUPED = ("amazon", "nyt")  # their ids are `group_number`; films and tweets stand alone
_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_SEED = 13


@dataclass(frozen=True, slots=True)
class Rated:
    """A text and what people think of it.

    Attributes:
        domain: movie, amazon, nyt or tweet.
        group: what it is a part of; a group is never split.
        rating: mean rating, -4 (most negative) to 4.
        text: the text.
    """

    domain: str
    group: str
    rating: float
    text: str


def load_split() -> dict[Part, list[Rated]]:
    """The data, each text once, in its three parts; downloaded once.

    Raises:
        BuildError: it cannot be downloaded or is not the pinned file.
    """
    parts: dict[Part, list[Rated]] = {"train": [], "dev": [], "test": []}
    seen: set[str] = set()
    for rated in _read(_archive()):
        key = re.sub(r"[^a-z0-9]+", " ", rated.text.lower()).strip()
        if key and key not in seen:
            seen.add(key)
            parts[part_of(rated)].append(rated)
    return parts


def part_of(rated: Rated) -> Part:
    """Which part a text belongs to: 80 % train, 10 % dev, 10 % test, by a hash of its group."""
    digest = hashlib.sha256(f"{_SEED}:{rated.domain}:{rated.group}".encode()).hexdigest()
    place = int(digest, 16) % 100
    return "train" if place < 80 else "dev" if place < 90 else "test"


def _archive() -> Path:
    """The pinned source archive, downloaded if it is missing."""
    kept = ARTIFACTS / "data" / f"{VADER.name}-{VADER.version}.tar.gz"
    with only_builder():
        if not kept.is_file() or sha256_of(kept) != VADER.sha256:
            kept.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
                download(VADER, Path(scratch)).rename(kept)
    return kept


def _read(archive: Path) -> Iterator[Rated]:
    with tarfile.open(archive) as outer:
        inner = io.BytesIO(read_member(outer, _INNER))
    with tarfile.open(fileobj=inner) as tar:
        for domain, file in _FILES.items():
            name = next(each for each in tar.getnames() if each.endswith(file))
            yield from _parse(domain, _decode(read_member(tar, name)))


def _parse(domain: str, content: str) -> Iterator[Rated]:
    for line in content.split("\n"):
        fields = line.rstrip("\r").split("\t", 2)
        if len(fields) == 3:
            group = fields[0].rsplit("_", 1)[0] if domain in _GROUPED else fields[0]
            yield Rated(domain, group, float(fields[1]), fields[2].strip())


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:  # one of the four files is in Windows' encoding
        return raw.decode("cp1252", errors="replace")
