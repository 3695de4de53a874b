"""Artifacts of buckets: fetched once over HTTP, compared, kept within a bound, and what is said of what goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inference_worker.artifact_store import bucket as reading
from inference_worker.artifact_store import cache, store
from inference_worker.artifact_store.store import ArtifactStore
from inference_worker.settings import WorkerSettings
from shared.contract.errors import ConfigurationError
from tests.buckets import KEY, SECRET, Bucket, serving
from tests.waiting import eventually

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4000, "1_Pooling/config.json": b"[]"}
NO_KEY = {"aws_access_key_id": None, "aws_secret_access_key": None}
WEIGHTS = "released/one/model.safetensors"


@pytest.fixture
async def bucket() -> AsyncIterator[Bucket]:
    async with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of which a small file has many; and nothing is tried again for long."""
    monkeypatch.setattr(reading, "BLOCK_BYTES", 100_000)
    monkeypatch.setattr(reading, "_RETRIES", 0)
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)


def made(bucket: Bucket, root: Path, **changes: Any) -> ArtifactStore:
    """The artifacts for one worker."""
    given: dict[str, Any] = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_endpoint_url": bucket.url}
    given |= {"artifact_cache": root / "cache", "load_timeout_s": 20} | changes
    progress = given.pop("progress", lambda there, size: None)
    return ArtifactStore(WorkerSettings(**given), progress)


async def fetched(artifacts: ArtifactStore, address: str, **options: Any) -> dict[str, bytes]:
    """The files that are at hand."""
    async with artifacts.at_hand(address, asyncio.Event(), **options) as directory:
        return files_of(directory)


def files_of(directory: Path) -> dict[str, bytes]:
    found = {
        each.relative_to(directory).as_posix(): each.read_bytes() for each in directory.rglob("*") if each.is_file()
    }
    found.pop("SHA256SUMS", None)
    return found


def asked_for(bucket: Bucket) -> list[str]:
    return [key.rpartition("/")[2] for method, key, _ in bucket.asked if method == "GET"]


async def test_it_is_fetched_once_and_only_what_is_needed(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put_files({**FILES, "README.md": b"long"}, "released/one")
    assert await fetched(made(bucket, tmp_path), address) == FILES
    assert asked_for(bucket).count("model.safetensors") == 11, "in blocks"
    bucket.asked.clear()
    assert await fetched(made(bucket, tmp_path), address) == FILES, "another worker, on the same folder"
    assert bucket.asked == []
    assert await fetched(made(bucket, tmp_path), address, all_files=True) == {**FILES, "README.md": b"long"}


async def test_two_workers_fetch_it_once_together(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put_files(FILES, "released/one")
    bucket.pause_s = 0.05
    both = await asyncio.gather(*(fetched(made(bucket, tmp_path), address) for _ in range(4)))
    assert both == [FILES] * 4
    assert asked_for(bucket).count("config.json") == 2, "it, and the one of 1_Pooling"


async def test_it_is_told_how_much_is_there(bucket: Bucket, tmp_path: Path) -> None:
    address, told = bucket.put_files(FILES, "released/one"), list[tuple[int, int]]()
    artifacts = made(bucket, tmp_path, progress=lambda there, size: told.append((there, size)))
    await fetched(artifacts, address)
    whole = sum(map(len, FILES.values()))
    assert {size for _, size in told} == {whole}
    assert [there for there, _ in told] == sorted(there for there, _ in told) and len(told) > 11, "block by block"
    assert told[0][0] == 0 and told[-1][0] == whole


async def test_what_has_changed_in_the_folder_is_fetched_again(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put_files(FILES, "released/one")
    async with made(bucket, tmp_path).at_hand(address, asyncio.Event()) as directory:
        pass
    for damage in (b"[]", b"{ }", b"{", None):
        (directory / "config.json").unlink()
        if damage is not None:
            (directory / "config.json").write_bytes(damage)
        bucket.asked.clear()
        assert await fetched(made(bucket, tmp_path), address) == FILES
        assert asked_for(bucket) == ["SHA256SUMS", "config.json"], "and nothing else"


@pytest.mark.parametrize(
    ("change", "told"),
    (
        [
            ({"objects": {}}, "there is no 'released/one/SHA256SUMS' in bucket 'models' .* whether all was uploaded"),
            ({"aws_endpoint_url": "http://127.0.0.1:1"}, "cannot be read now: .* the next try goes on"),
            ({"aws_access_key_id": "other"}, r"may not be read \(InvalidAccessKeyId\): look at the credentials"),
            ({"refused": (503, "SlowDown")}, "cannot be read now: .*503"),
            ({"refused": (301, "PermanentRedirect")}, "is in another region: set AWS_REGION"),
            (
                {"objects": {"released/one/SHA256SUMS": b"x"}},
                "its SHA256SUMS is another one than the address says: its SHA-256",
            ),
            ({"objects": {"released/one/SHA256SUMS": b"x" * 300_000}}, "has 300000 bytes: at most 262144"),
            ({"without": WEIGHTS}, "there is no 'released/one/model.safetensors'"),
            ({"swapped": WEIGHTS}, "is another file than SHA256SUMS says: its SHA-256 is"),
            ({"cut": {WEIGHTS: 1000}}, "cannot be read now"),
            ({"artifact_cache_mb": 1}, "it takes 1 MB, and 0 MB of others .* ARTIFACT_CACHE_MB allows 1 MB"),
            ({"load_timeout_s": 0.3, "pause_s": 5}, r"was not there after 0.3 s \(LOAD_TIMEOUT_S\)"),
            ({"artifact_cache": "/proc/nowhere"}, r"cannot keep .* in /proc/nowhere \(ARTIFACT_CACHE\): No such file"),
            ({"aws_shared_credentials_file": "/nowhere", **NO_KEY}, "AWS_SHARED_CREDENTIALS_FILE .* No such file"),
        ]
        if (NO_KEY := {"aws_access_key_id": None, "aws_secret_access_key": None})
        else []
    ),
)
async def test_what_goes_wrong_is_told_and_is_repaired_without_a_restart(
    bucket: Bucket, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    address = bucket.put_files(FILES | {"more.json": b"0" * 30_000}, "released/one")
    good, settings = dict(bucket.objects), {}
    for name, value in change.items():
        if name == "without":
            del bucket.objects[value]
        elif name == "swapped":
            bucket.objects[value] = bucket.objects[value][:-1] + b"x"
        elif hasattr(bucket, name):
            setattr(bucket, name, value)
        else:
            settings[name] = value
    artifacts = made(bucket, tmp_path, **settings)
    with pytest.raises(ConfigurationError, match=told) as caught:
        await fetched(artifacts, address)
    assert str(caught.value).startswith("cannot ") and "s3://models/released/one" in str(caught.value)
    assert "\n" not in str(caught.value) and SECRET not in str(caught.value) and len(str(caught.value)) < 700
    bucket.objects, bucket.cut, bucket.refused, bucket.pause_s = good, {}, None, 0
    if not settings:
        assert (await fetched(artifacts, address)).keys() == {*FILES, "more.json"}


async def test_a_bucket_that_is_not_there_is_named(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put_files(FILES, "released/one").replace("models", "nowhere")
    with pytest.raises(
        ConfigurationError, match="has no bucket 'nowhere': look at the address and at AWS_ENDPOINT_URL"
    ):
        await fetched(made(bucket, tmp_path), address)


async def test_credentials_of_a_file_are_those_that_it_has_now(bucket: Bucket, tmp_path: Path) -> None:
    address, file = bucket.put_files(FILES, "released/one"), tmp_path / "credentials"
    artifacts = made(bucket, tmp_path, aws_shared_credentials_file=file, **NO_KEY)
    for content, told in (
        ("nonsense", "no section"),
        ("[default]\naws_access_key_id=a\naws_secret_access_key=b", "Invalid"),
    ):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=told):
            await fetched(artifacts, address)
    file.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n", encoding="utf-8")
    assert await fetched(artifacts, address) == FILES


async def test_without_the_extra_it_is_said_which(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = bucket.put_files(FILES, "released/one")
    monkeypatch.delitem(sys.modules, "inference_worker.artifact_store.bucket")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'millstream\[object-store\]'"):
        await fetched(made(bucket, tmp_path), address)


async def test_after_a_broken_connection_it_goes_on_from_there(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put_files(FILES, "released/one")
    artifacts = made(bucket, tmp_path, load_timeout_s=0.4)
    bucket.pause_s = 0.08
    with pytest.raises(ConfigurationError, match="the next try goes on from there"):
        await fetched(artifacts, address)
    tries = 1
    while not (tmp_path / "cache" / address[-64:]).exists():
        tries += 1
        try:
            assert await fetched(artifacts, address) == FILES
        except ConfigurationError:
            assert tries < 20
    of_the_weights = [wanted for method, key, wanted in bucket.asked if key == WEIGHTS and method == "GET"]
    assert tries > 1 and len(of_the_weights) <= 11 + 4 * (
        tries - 1
    ), "four blocks at most are fetched in vain each time"


async def test_a_worker_that_is_killed_leaves_what_the_next_goes_on_with(bucket: Bucket, tmp_path: Path) -> None:
    address = bucket.put_files(FILES, "released/one")
    bucket.pause_s = 0.2
    program = (
        "import asyncio\n"
        "from inference_worker.artifact_store import bucket, store\n"
        "from inference_worker.settings import WorkerSettings\n"
        "bucket.BLOCK_BYTES = 50_000\n"
        "async def main():\n"
        f"    async with store.ArtifactStore(WorkerSettings()).at_hand({address!r}, asyncio.Event()): pass\n"
        "asyncio.run(main())\n"
    )
    environ = bucket.settings | {"ARTIFACT_CACHE": str(tmp_path / "cache"), "PATH": os.environ["PATH"]}
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environ)
    part = tmp_path / "cache" / f"{address[-64:]}.part" / "model.safetensors"
    await eventually(lambda: part.exists() and part.stat().st_size >= 200_000, "some is there", 30)
    os.kill(killed.pid, signal.SIGKILL)
    await killed.wait()
    bucket.pause_s = 0
    bucket.asked.clear()
    assert await fetched(made(bucket, tmp_path), address) == FILES
    first = next(wanted for method, key, wanted in bucket.asked if key == WEIGHTS and method == "GET")
    assert int(first.removeprefix("bytes=").partition("-")[0]) >= 200_000
    assert "config.json" not in asked_for(bucket)[:2], "it was there"


async def test_it_ends_at_once_if_it_is_not_wanted_any_more(bucket: Bucket, tmp_path: Path) -> None:
    address, end = bucket.put_files(FILES, "released/one"), asyncio.Event()
    bucket.pause_s = 10

    async def use() -> bool:
        async with made(bucket, tmp_path).at_hand(address, end) as directory:
            return directory.exists()

    using = asyncio.create_task(use())
    await eventually(lambda: len(bucket.asked) > 0, "it has begun")
    end.set()
    assert not await asyncio.wait_for(using, 2)
    bucket.pause_s = 0
    assert await fetched(made(bucket, tmp_path), address) == FILES, "its lock is not held any more"


async def test_those_unused_for_longest_make_room_and_those_in_use_never(bucket: Bucket, tmp_path: Path) -> None:
    sizes = {"a": 400_000, "b": 400_000, "c": 400_000, "d": 1_100_000}
    addresses = {
        name: bucket.put_files({"model.safetensors": name.encode() * size}, f"released/{name}")
        for name, size in sizes.items()
    }
    artifacts, root = made(bucket, tmp_path, artifact_cache_mb=1), tmp_path / "cache"
    root.mkdir()
    (root / "mine").mkdir()
    (root / "mine" / "notes.txt").write_text("not a model", encoding="utf-8")

    def there() -> set[str]:
        return {name for name, address in addresses.items() if (root / address[-64:]).exists()}

    await fetched(artifacts, addresses["a"])
    await fetched(artifacts, addresses["b"])
    os.utime(root / f"{addresses['a'][-64:]}.lock", (1, 1))
    async with artifacts.at_hand(addresses["b"], asyncio.Event()):
        await fetched(artifacts, addresses["c"])
        assert there() == {"b", "c"}
        with pytest.raises(ConfigurationError, match="it takes 1 MB, and 0 MB of others"):
            await fetched(artifacts, addresses["d"])
        assert there() == {"b"}, "the one that is in use"
        os.utime(root / f"{addresses['b'][-64:]}.lock", (1, 1))
        await fetched(artifacts, addresses["a"])
        assert there() == {"a", "b"}
    await fetched(artifacts, addresses["c"])
    assert there() == {"a", "c"}, "once it is not in use"
    assert (root / "mine" / "notes.txt").exists()


async def test_what_does_not_fit_on_the_disk_is_not_begun(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = bucket.put_files(FILES, "released/one")
    monkeypatch.setattr(cache, "STAYS_FREE", 10**18)
    with pytest.raises(ConfigurationError, match=r"1 MB are to be fetched, and the disk of .* has 0 MB for them"):
        await fetched(made(bucket, tmp_path), address)
    monkeypatch.undo()
    assert (await fetched(made(bucket, tmp_path), address)) == FILES


async def test_a_disk_that_is_full_is_told(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = bucket.put_files(FILES, "released/one")

    def full(path: Path) -> str:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(store, "_sha256", full)
    with pytest.raises(ConfigurationError, match=r"cannot keep .* \(ARTIFACT_CACHE\): No space left on device"):
        await fetched(made(bucket, tmp_path), address)
