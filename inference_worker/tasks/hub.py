"""Models of the hub: fetched into its cache, or why not in words.

A pinned revision that is in the cache needs no network. What was fetched of a file before a connection broke is kept,
so that the next try goes on from there.
"""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from inference_worker.tasks.directories import UNWANTED, WANTED
from shared.contract.catalogue import HUB_PREFIX
from shared.contract.errors import ConfigurationError

_MOST_CHARS = 500


def fetch(location: str) -> Path:
    """The directory of a model of the hub, which is fetched unless it is there.

    Args:
        location: `hf://owner/name[@revision]`.

    Raises:
        ConfigurationError: it cannot be had: what the hub says, and what to set.
    """
    name, _, revision = location.removeprefix(HUB_PREFIX).partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=WANTED, ignore_patterns=UNWANTED))
    except MemoryError:
        raise
    except Exception as error:  # noqa: B902 - of the hub's client, of its HTTP client, of the file system
        advice = _advice(error)
        raise ConfigurationError(
            f"cannot fetch {location} from the model hub: {words(error)}{advice and f' ({advice})'}"
        ) from error


def words(error: BaseException) -> str:
    """All lines of an error in one, shortened; its class if it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"


def _advice(error: Exception) -> str:
    token = "the one of HF_TOKEN may not read it" if os.environ.get("HF_TOKEN") else "HF_TOKEN is not set"
    if isinstance(error, GatedRepoError):
        return f"ask for access on its page, then set HF_TOKEN to a token of that account; {token}"
    if isinstance(error, RepositoryNotFoundError):
        return f"look at the spelling; if it is private, set HF_TOKEN to a token that may read it: {token}"
    if isinstance(error, RevisionNotFoundError):
        return "it has no such branch, tag or commit: look at what stands behind the @"
    if isinstance(error, HFValidationError):
        return "write hf://owner/name, or hf://owner/name@revision"
    if isinstance(error, OfflineModeIsEnabled) or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return "HF_HUB_OFFLINE is set, and it is not in the cache (HF_HOME): unset it, or fetch it before"
    if isinstance(error, LocalEntryNotFoundError) or not isinstance(error, (OSError, ValueError)):
        return "it is tried again; through a proxy or mirror: HTTPS_PROXY, HF_ENDPOINT"
    return ""
