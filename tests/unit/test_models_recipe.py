"""The parts of the recipe that need no download."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models import artifacts
from models.adapters import compress, merge, write_adapter
from models.articles import load_articles
from models.artifacts import Recipe, build, sha256_of
from models.build import main, wanted
from models.data import Rated, part_of
from models.evaluate import summary_faults
from models.packages import MINILM, BuildError, _explain, read_member, unpack_wheel


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory in the place of `models/artifacts`."""
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path)
    return tmp_path


def _recipe(content: str, sha256: str | None = None, megabytes: int = 1) -> Recipe:
    def make(directory: Path) -> None:
        (directory / "file.txt").write_text(content)

    return Recipe("thing", {"file.txt": sha256}, megabytes, make)


def test_an_artifact_is_built_once(store: Path) -> None:
    assert build(_recipe("one")) is True
    assert build(_recipe("two")) is False
    assert (store / "thing" / "file.txt").read_text() == "one"


def test_a_wrong_hash_leaves_nothing_behind(store: Path) -> None:
    with pytest.raises(BuildError, match="not the pinned file"):
        build(_recipe("one", "0" * 64))
    assert list(store.iterdir()) == []


def test_a_damaged_artifact_is_replaced(store: Path) -> None:
    build(_recipe("one"))
    good = sha256_of(store / "thing" / "file.txt")
    (store / "thing" / "file.txt").write_text("damaged")
    assert build(_recipe("one", good)) is True
    assert (store / "thing" / "file.txt").read_text() == "one"


def test_too_little_disk_is_said_before_anything_is_done(store: Path) -> None:
    with pytest.raises(BuildError, match="make room"):
        build(_recipe("one", megabytes=10**12))
    assert list(store.iterdir()) == []


def test_one_artifact_is_built_with_what_it_needs() -> None:
    assert [recipe.name for recipe in wanted("sentiment-lora-r16")] == ["all-minilm-l6-v2", "sentiment-lora-r16"]


def test_an_unknown_artifact_is_named_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"]) == 1
    assert "smollm2-135m-instruct" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the pinned one|not the file pinned"),
        ("ERROR: No matching distribution found", "network"),
        ("No module named pip", "ensurepip"),
        ("line one\nERROR: disk quota", "disk quota"),
    ],
)
def test_what_pip_says_is_explained(stderr: str, said: str) -> None:
    with pytest.raises(BuildError, match=said):
        raise BuildError(_explain(MINILM, stderr))


def test_a_merge_adds_the_product_and_refuses_another_base(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base.safetensors", tmp_path / "adapter.safetensors"
    save_file({"encoder.x.weight": torch.zeros(2, 3), "y": torch.zeros(1)}, base)
    low, high = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [0.5]])
    tensors = {"m.encoder.x.A": low, "m.encoder.x.B": high, "m.y": torch.ones(1)}
    write_adapter(adapter, tensors, rank=1, alpha=2, base_sha256=sha256_of(base))
    merged = merge(base, adapter, "m.")
    assert merged["m.encoder.x.weight"].tolist() == [[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]]
    assert merged["m.y"].tolist() == [1.0]
    write_adapter(adapter, tensors, rank=1, alpha=2, base_sha256="0" * 64)
    with pytest.raises(BuildError, match="not the file"):
        merge(base, adapter, "m.")


def test_a_compressed_change_of_low_rank_is_exact() -> None:
    base = {"m.encoder.x.weight": torch.zeros(4, 4), "m.b": torch.zeros(4), "m.word_embeddings.weight": torch.zeros(2)}
    change = torch.outer(torch.arange(4.0), torch.ones(4))
    adapter, kept = compress(base, {**base, "m.encoder.x.weight": change}, rank=1)
    assert kept == pytest.approx(1.0)
    assert torch.allclose(adapter["m.encoder.x.B"] @ adapter["m.encoder.x.A"], change, atol=1e-5)
    assert set(adapter) == {"m.encoder.x.A", "m.encoder.x.B", "m.b"}


def test_members_of_a_wheel_land_under_their_new_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("pkg/model/config.json", "{}")
    unpack_wheel(tmp_path / "a.whl", {"pkg/model/config.json": "sub/config.json"}, tmp_path / "out")
    assert (tmp_path / "out/sub/config.json").read_text() == "{}"


def test_a_member_of_a_tar_is_read_where_it_is() -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        info = tarfile.TarInfo("../outside")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"hi"))
    raw.seek(0)
    with tarfile.open(fileobj=raw) as archive:
        assert read_member(archive, "../outside") == b"hi"
        with pytest.raises(BuildError, match="no file"):
            read_member(archive, "absent")


def test_the_split_does_not_change() -> None:
    """Held-out accuracy is defined on it: these parts are what the published split gives."""
    parts = [part_of(Rated("amazon", str(group), 1.0, "")) for group in range(12)]
    assert parts == [
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "dev",
        "dev",
        "train",
    ]


def test_faults_of_a_summary_are_named() -> None:
    article = load_articles()[0]
    assert summary_faults(article, article.text) == ["is too long"]
    assert len(summary_faults(article, "short")) == len(article.facts)
