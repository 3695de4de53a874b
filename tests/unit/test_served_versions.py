"""What a worker says while it loads."""

from __future__ import annotations

import pytest

from inference_worker.settings import WorkerSettings
from inference_worker.versions import ServedVersions
from shared.contract.catalogue import Catalogue
from shared.service.liveness import Liveness
from shared.streams.shard import open_shard


@pytest.fixture
def versions(catalogue: Catalogue) -> ServedVersions:
    """Two versions, of which none is loaded yet."""
    settings = WorkerSettings(redis_url="redis://unused", model_catalogue="unused")
    shard, liveness = open_shard(settings), Liveness(30)  # nothing of it connects before it is run
    return ServedVersions(settings, catalogue, catalogue.select("echo"), shard, liveness, "worker", None)


def test_what_is_still_being_loaded_is_named(versions: ServedVersions) -> None:
    assert versions.not_ready() == "loading echo:1.0.0, echo:2.0.0"
    versions.failures["echo:1.0.0"] = "its weights are torn"
    assert versions.not_ready() == "loading echo:2.0.0"
    versions.failures["echo:2.0.0"] = "its weights are torn"
    assert versions.not_ready() is None, "known not to be served, which does not keep the others from being"
