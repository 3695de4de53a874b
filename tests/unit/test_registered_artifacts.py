"""Where the artifact of a version that is registered by API may be, and its digest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.service.artifacts import MOST_FILES, ArtifactRefused, Sources, open_artifact

COMMIT = "714eb0fa89d2f80546fda750413ed43d93601a13"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one artifact, `good`, and something outside."""
    good = tmp_path / "root" / "good"
    (good / "more").mkdir(parents=True)
    (good / "config.json").write_text("{}", encoding="utf-8")
    (good / "more" / "weights").write_text("w", encoding="utf-8")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s", encoding="utf-8")
    return tmp_path / "root"


def digest(root: Path, artifact: str = "good") -> str:
    return open_artifact(artifact, Sources([root])).digest


def test_a_directory_is_found_below_a_root_whichever_way_it_is_named(root: Path) -> None:
    found = open_artifact("good", Sources([root / "missing", root]))
    assert found.location == str(root / "good") and found.digest.startswith("sha256:")
    assert open_artifact(str(root / "good"), Sources([root])) == found
    (root / "alias").symlink_to("good")
    assert open_artifact("alias", Sources([root])) == found, "a link that stays inside"


def test_the_digest_is_of_names_and_contents(root: Path) -> None:
    before = digest(root)
    os.utime(root / "good" / "config.json", (1, 1))
    assert digest(root) == before
    (root / "good" / "config.json").write_text("{ }", encoding="utf-8")
    changed = digest(root)
    (root / "good" / "config.json").rename(root / "good" / "other.json")
    renamed = digest(root)
    (root / "good" / "empty").touch()
    assert len({before, changed, renamed, digest(root)}) == 4


def test_a_file_may_be_a_link_to_another_inside(root: Path) -> None:
    before = digest(root)
    (root / "good" / "more" / "weights").rename(root / "blob")
    (root / "good" / "more" / "weights").symlink_to(root / "blob")
    assert digest(root) == before


@pytest.mark.parametrize(
    ("artifact", "told"),
    [
        ("missing", "is no directory below MODEL_ROOTS"),
        (".", "is no directory below MODEL_ROOTS"),
        ("good/config.json", "is no directory below MODEL_ROOTS"),
        ("../outside", "must not have '..'"),
        ("good/../../outside", "must not have '..'"),
        ("/etc", "leads out of MODEL_ROOTS"),
        ("a\0b", "must not have"),
        ("out", "leads out of MODEL_ROOTS"),
        ("linked", "'secret' of 'linked' is a link that leads out"),
        ("dangling", "'gone' of 'dangling' is no file"),
        ("folder", "'inner' of 'folder' is a link to a directory"),
        ("pipe", "'fifo' of 'pipe' is no file"),
    ],
)
def test_what_is_not_inside_is_refused(root: Path, artifact: str, told: str) -> None:
    (root / "out").symlink_to(root.parent / "outside")
    for name, link, target in (
        ("linked", "secret", "../../outside/secret"),
        ("dangling", "gone", "nothing"),
        ("folder", "inner", "../good"),
    ):
        (root / name).mkdir()
        (root / name / link).symlink_to(target)
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe" / "fifo")
    with pytest.raises(ArtifactRefused) as refused:
        open_artifact(artifact, Sources([root]))
    assert told in str(refused.value)


def test_without_roots_no_directory_is_loaded(root: Path) -> None:
    with pytest.raises(ArtifactRefused, match="MODEL_ROOTS is empty"):
        open_artifact(str(root / "good"), Sources([]))


def test_the_files_of_an_artifact_are_bounded(root: Path) -> None:
    for number in range(MOST_FILES):
        (root / "good" / str(number)).touch()
    with pytest.raises(ArtifactRefused, match=f"more than {MOST_FILES} files"):
        digest(root)


def test_a_commit_of_a_known_owner_is_its_own_digest() -> None:
    address = f"hf://distilbert/distil-1.0_x@{COMMIT}"
    assert open_artifact(address, Sources(owners=["distilbert"])) == (address, f"commit:{COMMIT}")
    with pytest.raises(ArtifactRefused, match="'distilbert' is not in HUB_OWNERS"):
        open_artifact(address, Sources(owners=["other"]))


@pytest.mark.parametrize(
    "address",
    [
        "hf://o/n",
        "hf://o/n@main",
        f"hf://o/n@{COMMIT[:-1]}",
        f"hf://o/n@{COMMIT}0",
        f"hf://o/n@{COMMIT.upper()}",
        f"hf://o/n@{COMMIT}\n",
        f"hf://o/../n@{COMMIT}",
        f"hf://o/n/x@{COMMIT}",
        f"hf://@{COMMIT}",
        f"hf://n@{COMMIT}",
    ],
)
def test_any_other_form_of_a_commit_is_refused(address: str) -> None:
    with pytest.raises(ArtifactRefused, match="40 hexadecimal digits"):
        open_artifact(address, Sources(owners=["o"]))


def test_an_adapter_is_refused_since_its_base_may_be_anywhere(root: Path) -> None:
    (root / "good" / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactRefused, match="is an adapter, .*merge it"):
        open_artifact("good", Sources([root]))
