"""What a worker says while it loads."""

from __future__ import annotations

from typing import Any, cast

import pytest

from inference_worker.settings import WorkerSettings
from inference_worker.versions import ServedVersions
from shared.contract.catalogue import Catalogue


@pytest.fixture
def versions(catalogue: Catalogue) -> ServedVersions:
    """Two versions, of which none is loaded yet."""
    unused = cast(Any, None)
    settings = WorkerSettings(redis_url="redis://unused", model_catalogue="unused")
    return ServedVersions(settings, catalogue, catalogue.select("echo"), unused, unused, "worker", None)


def test_what_is_still_being_loaded_is_named(versions: ServedVersions) -> None:
    assert versions.not_ready() == "loading echo:1.0.0, echo:2.0.0"
    versions.failures["echo:1.0.0"] = "its weights are torn"
    assert versions.not_ready() == "loading echo:2.0.0"
    versions.failures["echo:2.0.0"] = "its weights are torn"
    assert versions.not_ready() is None, "known not to be served, which does not keep the others from being"
