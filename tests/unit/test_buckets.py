"""Addresses of artifacts in buckets, and the manifests that they name."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from inference_worker.artifact_store.manifest import MOST_FILES, needed, parse_manifest
from inference_worker.settings import WorkerSettings
from shared.contract.buckets import is_within, parse_address
from shared.contract.catalogue import Catalogue, Version
from shared.contract.errors import ConfigurationError
from shared.service.artifacts import ArtifactRefused, Sources, open_artifact

DIGEST = "0" * 64


def address(path: str, bucket: str = "models") -> str:
    return f"s3://{bucket}/{path}@sha256:{DIGEST}"


@pytest.mark.parametrize(
    "wrong",
    [
        *("s3://models/a", "s3://models/a@sha256:12", "s3://models@sha256:" + DIGEST, address("a").upper()),
        *(
            address(path)
            for path in ("", "..", "a/..", "../a", "a//b", "/a", "a/", ".", "a b", "a\n", "é", "a?b", "a@b")
        ),
        *(address("a", bucket) for bucket in ("", "A", "a", "-ab", "a_b", "u:p@host", "b" * 64)),
        *("gs://models/a@sha256:" + DIGEST, address("a") + "\n", address("a") + "0"),
    ],
)
def test_an_address_that_is_none_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="write s3://bucket/path@sha256:"):
        parse_address(wrong)


def test_an_address_is_the_place_and_the_digest() -> None:
    assert parse_address(address("a/.b/c=1.0+x")) == ("models", "a/.b/c=1.0+x", DIGEST)
    version = Version(version="1", artifact=address("a/b"))
    assert Catalogue.model_construct(models=(), directory="/x").artifact_location(version) == address("a/b")


def test_only_what_is_below_a_place_may_be_registered() -> None:
    found = open_artifact(address("a/b"), Sources(buckets=["s3://models/a"]))
    assert found == (address("a/b"), f"sha256:{DIGEST}")
    for places in ([], ["s3://models/a/b/c"], ["s3://models/"], ["s3://model"], ["s3://models/a/bb"]):
        within = places == ["s3://models/"]
        assert is_within(parse_address(address("a/b")), places) == within
    with pytest.raises(ArtifactRefused, match="'s3://models/ab' is not below one of MODEL_BUCKETS"):
        open_artifact(address("ab"), Sources(buckets=["s3://models/a"]))
    with pytest.raises(ArtifactRefused, match="names no artifact of a bucket"):
        open_artifact("s3://models/a", Sources(buckets=["s3://models"]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_buckets": "s3://models, models"}, "not 'models'"),
        ({"model_buckets": "s3://models/../x"}, "not 's3://models/../x'"),
        ({"aws_access_key_id": "k"}, "needs its secret"),
        ({"aws_endpoint_url": "http://me:secret@minio:9000"}, "should match pattern"),
    ],
)
def test_settings_of_buckets_are_checked_at_the_start(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        WorkerSettings(**changes)


def test_what_sha256sum_prints_is_read(tmp_path: Path) -> None:
    """As in docs/MODELS.md; what the shell has made before it is the list itself, too."""
    (tmp_path / "more").mkdir()
    for name in ("config.json", "more/model.safetensors", "README.md"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    subprocess.run("find . -type f -exec sha256sum {} + > SHA256SUMS", shell=True, check=True, cwd=tmp_path, timeout=10)
    files = parse_manifest((tmp_path / "SHA256SUMS").read_bytes())
    names = {"config.json", "more/model.safetensors", "README.md"}
    assert files == {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    assert needed(files, all_of_them=False).keys() == names - {"README.md"}
    assert needed(files, all_of_them=True) == files


@pytest.mark.parametrize(
    ("content", "told"),
    [
        *((f"{DIGEST}  {name}\n", "names .* a file is named relative") for name in ("../a", "a/../b", "/etc/passwd")),
        *((f"{DIGEST}  {name}\n", "a file is named relative") for name in ("a b", "a//b", "x" * 256, "a\x00b", "..")),
        (f"\\{DIGEST}  a\\nb\n", "line 1 of SHA256SUMS is not as sha256sum prints it"),
        (f"{DIGEST}  a\n<html>\n", "line 2 of SHA256SUMS"),
        (f"{DIGEST}  a\n{'1' * 64}  ./a\n", "names 'a' twice"),
        ("".join(f"{DIGEST}  {number}\n" for number in range(MOST_FILES + 1)), "names 1001 files: at most 1000"),
    ],
)
def test_a_manifest_of_something_else_is_refused(content: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        parse_manifest(content.encode())


def test_a_manifest_without_anything_to_load_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no text"):
        parse_manifest(b"\xff\xfe")
    for files in ({}, {"pytorch_model.bin": DIGEST, "onnx/model.json": DIGEST}):
        with pytest.raises(ConfigurationError, match="names no file that a model needs"):
            needed(files, all_of_them=False)
    converted = dict.fromkeys(("openvino_model.xml", "openvino_model.bin", "openvino_model.xml.json"), DIGEST)
    assert needed(converted, all_of_them=False) == converted
