"""What a worker says while it loads, and what it will not load."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from inference_worker import versions as worker_versions
from inference_worker.engine import Engine
from inference_worker.settings import WorkerSettings
from inference_worker.versions import ServedVersions
from shared.contract.catalogue import Catalogue, ServedVersion
from shared.contract.errors import ConfigurationError
from shared.contract.registry import RegisteredVersion
from shared.contract.version_states import MOST_REASON_CHARS, State, VersionState, decode_states, encode_states
from shared.service.artifacts import Sources, open_artifact
from shared.service.liveness import Liveness
from shared.streams.shard import open_shard


def made(catalogue: Catalogue, **changes: Any) -> ServedVersions:
    """What a worker serves; nothing of it connects before it is run."""
    settings = WorkerSettings(redis_url="redis://unused", model_catalogue="unused", **changes)
    return ServedVersions(settings, catalogue, open_shard(settings), Liveness(30), "worker", None)


@pytest.fixture
def versions(catalogue: Catalogue) -> ServedVersions:
    """Two versions, of which none is loaded yet."""
    versions = made(catalogue)
    versions.want({each.label: each for each in catalogue.select("echo")})
    return versions


def registered(artifact: str, digest: str) -> ServedVersion:
    version = RegisteredVersion(version="4", artifact=artifact, digest=digest)
    return ServedVersion(model="m", task="summarization", version=version)


def test_what_is_still_being_loaded_is_named(versions: ServedVersions) -> None:
    assert versions.not_ready() == "loading echo:1.0.0, echo:2.0.0"
    versions.failures["echo:1.0.0"] = "its weights are torn"
    assert versions.not_ready() == "loading echo:2.0.0"
    versions.failures["echo:2.0.0"] = "its weights are torn"
    assert versions.not_ready() is None, "known not to be served, which does not keep the others from being"


def test_what_is_wanted_later_is_not_waited_for(versions: ServedVersions, catalogue: Catalogue) -> None:
    versions.failures |= {"echo:1.0.0": "x"}
    versions.want({each.label: each for each in catalogue.select("echo:1.0.0,noop")})
    assert versions.not_ready() is None, "one is given up, one came later"


def test_before_it_is_known_what_is_wanted_nothing_is_ready(catalogue: Catalogue) -> None:
    assert made(catalogue).not_ready() == "it is not known yet what is to be served"


def test_states_are_told_for_each_version_and_survive_a_heartbeat(versions: ServedVersions) -> None:
    versions.failures["echo:1.0.0"] = "x" * 1000
    expected = {
        "echo:1.0.0": VersionState(State.FAILED, "x" * MOST_REASON_CHARS),
        "echo:2.0.0": VersionState(State.LOADING),
    }
    assert decode_states(encode_states(versions.states)) == expected
    for torn in (None, b"", b"[]", b"{", b'{"a": 1}', b'{"a": ["dancing", ""]}'):
        assert decode_states(torn) == {}


@pytest.mark.parametrize(
    ("artifact", "told"), [("new", "has changed since it was registered"), ("/", "leads out of MODEL_ROOTS")]
)
async def test_a_registered_version_is_not_loaded_from_other_files_or_from_elsewhere(
    catalogue: Catalogue, tmp_path: Path, artifact: str, told: str
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").touch()
    digest = open_artifact("new", Sources([tmp_path])).digest
    (tmp_path / "new" / "config.json").write_text("{}", encoding="utf-8")
    versions, given_up = made(catalogue, model_roots=str(tmp_path)), asyncio.Event()
    served = registered(artifact, digest)
    serving = asyncio.create_task(versions.serve(served, asyncio.Event(), given_up))
    await versions.news.wait()
    assert told in versions.failures[served.label]
    given_up.set()
    await serving
    assert versions.failures == {}, "of what is given up nothing is told"


async def test_a_version_of_the_file_that_cannot_be_loaded_ends_a_worker_that_has_nothing_else(
    catalogue: Catalogue,
) -> None:
    (labels,) = catalogue.select("labels")
    for settings, others, ends in (({}, "", True), ({}, ",noop", False), ({"worker_strict": "true"}, ",noop", True)):
        versions, end = made(catalogue, **settings), asyncio.Event()
        versions.want({each.label: each for each in catalogue.select(f"labels{others}")})
        serving = asyncio.create_task(versions.serve(labels, asyncio.Event(), end))
        versions.news.clear()
        await versions.news.wait()
        end.set()
        if ends:
            with pytest.raises(ConfigurationError, match="make models"):
                await serving
        else:
            await serving


async def test_what_computes_a_version_is_found_out_while_its_children_load(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    (echo,) = catalogue.select("echo:1.0.0")
    found_out, loaded, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    async def start(_: Engine) -> None:
        await asyncio.wait_for(found_out.wait(), 10)
        loaded.set()

    def fingerprint(*_: object) -> str:
        assert not loaded.is_set()
        loop.call_soon_threadsafe(found_out.set)
        return "print"

    monkeypatch.setattr(Engine, "start", start)
    monkeypatch.setattr(worker_versions, "fingerprint_of", fingerprint)
    versions = made(catalogue)
    await versions._load(echo)
    assert versions.fingerprints == {"echo:1.0.0": "print"}
