"""The names of cached results: different for everything that a result depends on, and telling nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cache_key import Cacheable, cache_key
from gateway.core.order import CacheWish
from gateway.http.cache_control import cache_wish
from inference_worker.children.child import LoadPlan
from inference_worker.fingerprint import fingerprint_of
from shared.service.artifacts import Sources, open_artifact

SECRET = b"a secret"
PARTS = st.builds(
    Cacheable,
    st.text(max_size=3),
    st.integers(0, 3),
    st.text(max_size=3),
    st.text(max_size=3),
    st.binary(),
    st.binary(),
)


@given(PARTS, PARTS)
def test_two_that_differ_in_anything_have_different_names(one: Cacheable, other: Cacheable) -> None:
    assert (cache_key(SECRET, one) == cache_key(SECRET, other)) == (one == other)


def test_what_moves_from_one_part_to_the_next_is_another_name() -> None:
    one = Cacheable("ab", 1, "m:1", "f", b"{}", b"x")
    for other in (one._replace(owner="a", label="bm:1"), one._replace(options=b"{}x", input=b"")):
        assert cache_key(SECRET, one) != cache_key(SECRET, other)
    assert cache_key(b"another", one) != cache_key(SECRET, one)


@pytest.mark.parametrize(
    ("header", "wish"),
    [
        (None, CacheWish(True, True)),
        ("", CacheWish(True, True)),
        ("max-age=0, no-transform", CacheWish(True, True)),
        ("no-cache", CacheWish(False, True)),
        ("max-age=0,  No-Cache ", CacheWish(False, True)),
        ("no-store", CacheWish(False, False)),
        ("no-cache, no-store", CacheWish(False, False)),
        ('no-cache="x"', CacheWish(False, True)),
    ],
)
def test_what_a_client_wants_of_the_cache(header: str | None, wish: CacheWish) -> None:
    assert cache_wish(header) == wish


def plan(location: str, task: str = "text-classification", dtype: str = "float32") -> LoadPlan:
    return LoadPlan("m:1", task, location, dtype, "torch", "auto", 512, 1, 0, 0, 0, 0)


def test_a_fingerprint_changes_with_a_files_content_its_name_the_type_and_the_code(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "weights").write_bytes(b"one")
    first = fingerprint_of(plan(str(tmp_path)))
    assert first and first == fingerprint_of(plan(str(tmp_path)))
    assert first != fingerprint_of(plan(str(tmp_path), dtype="bfloat16"))
    (tmp_path / "a" / "weights").write_bytes(b"two")
    second = fingerprint_of(plan(str(tmp_path)))
    (tmp_path / "a" / "weights").rename(tmp_path / "a" / "weights2")
    third = fingerprint_of(plan(str(tmp_path)))
    assert len({first, second, third}) == 3


def test_a_digest_that_is_known_is_not_computed_again(tmp_path: Path) -> None:
    """The files of a registered version are read once."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"one")
    location, digest = open_artifact("model", Sources([tmp_path]))
    first = fingerprint_of(plan(location))
    (tmp_path / "model" / "weights").unlink()
    assert first == fingerprint_of(plan(location), digest) != fingerprint_of(plan(location))


def test_a_class_of_ones_own_is_known_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "package").mkdir()
    source = tmp_path / "package" / "own.py"
    source.write_text("raise SystemExit('imported')")  # it is not
    first = fingerprint_of(plan("none", "package.own:Model"))
    source.write_text("x = 1")
    assert first and first != fingerprint_of(plan("none", "package.own:Model"))
    assert fingerprint_of(plan("none", "package.nowhere:Model")) == ""


def test_what_may_change_on_the_hub_has_no_fingerprint() -> None:
    assert fingerprint_of(plan("hf://owner/name")) == fingerprint_of(plan("hf://owner/name@main")) == ""
    assert fingerprint_of(plan(f"hf://owner/name@{'a' * 40}")) != fingerprint_of(plan(f"hf://owner/name@{'b' * 40}"))
