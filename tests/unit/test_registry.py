"""What was decided by API, over the catalogue of the file."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contract.catalogue import Catalogue, parse_catalogue
from shared.contract.errors import MalformedMessage
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.registry import RegisteredModel, RegisteredVersion, Registry, decode_registry, merged, says_of

FILE = """
[[models]]
name = "a"
task = "summarization"
description = "d"
versions = [
    {version = "1", artifact = "x"}, {version = "2", artifact = "x", default = true},
    {version = "3", artifact = "x", active = false},
]
[[models]]
name = "own"
task = "package.module:Class"
description = "d"
versions = [{version = "1", artifact = "x", default = true}, {version = "2", artifact = "x"}]
"""


@pytest.fixture
def seed() -> Catalogue:
    """`a` of a built-in task, and `own` of a custom one."""
    return parse_catalogue(FILE)


def new(version: str, **more: Any) -> RegisteredVersion:
    """A registered version."""
    return RegisteredVersion(version=version, artifact="new", digest="sha256:0", **more)


def decided(seed: Catalogue, name: str = "a", **more: Any) -> Registry:
    """What was decided about one model, while the file said what it says."""
    model = seed.find(name)
    about: dict[str, Any] = {"task": "summarization", "description": "d", "generation": 1}
    says = "" if model is None else says_of(model)
    return Registry(epoch=1, models=(RegisteredModel(**{**about, "name": name, "says": says, **more}),))


def states(catalogue: Catalogue, name: str = "a") -> str:
    """What is so of each version of a model."""
    model = catalogue.find(name)
    assert model is not None
    return says_of(model)


def test_nothing_decided_changes_nothing(seed: Catalogue) -> None:
    assert merged(seed, Registry()).models == seed.models


def test_what_was_decided_holds_over_what_the_file_says(seed: Catalogue) -> None:
    registry = decided(seed, default="4", active=("2", "3"), versions=(new("4"), new("5", active=False)))
    now = merged(seed, registry)
    assert states(now) == "1=inactive 2=active 3=active 4=default 5=inactive"
    default = now.resolve("a", None)
    assert default is not None and default.version.version == "4" and isinstance(default.version, RegisteredVersion)
    assert now.resolve("a", "1") is None and now.resolve("a", "5") is None


def test_once_the_file_says_something_else_that_holds(seed: Catalogue) -> None:
    registry = decided(seed, default="4", active=("1",), versions=(new("4"),), says="1=default")
    assert states(merged(seed, registry)) == "1=active 2=default 3=inactive 4=active"


def test_a_change_of_the_file_that_is_not_about_it_leaves_what_was_decided(seed: Catalogue) -> None:
    registry = decided(seed, default="1", active=("1", "2"))
    other = parse_catalogue(FILE.replace('artifact = "x"', 'artifact = "y"'))
    assert states(merged(other, registry)) == "1=default 2=active 3=inactive"


def test_a_version_that_both_name_is_the_files(seed: Catalogue) -> None:
    now = merged(seed, decided(seed, default="2", active=("1", "2"), versions=(new("1"),)))
    served = now.resolve("a", "1")
    assert served is not None and not isinstance(served.version, RegisteredVersion)


def test_no_version_of_a_custom_task_is_added_and_no_model_of_one(seed: Catalogue) -> None:
    about = {"task": "package.module:Class", "versions": (new("9"),)}
    assert states(merged(seed, decided(seed, "own", default="2", active=("1", "2"), **about)), "own") == (
        "1=active 2=default"
    )
    assert merged(seed, decided(seed, "new", **about)).find("new") is None


def test_a_new_model_is_there_and_may_have_no_default(seed: Catalogue) -> None:
    now = merged(seed, decided(seed, "new", versions=(new("1"),), group="nlp"))
    assert now.resolve("new", "1") is not None and now.resolve("new", None) is None
    assert [each.group for each in now.served() if each.model == "new"] == ["nlp"]


def test_it_travels_as_json_and_what_is_none_is_refused(seed: Catalogue) -> None:
    registry = decided(seed, default="4", versions=(new("4", limits={"tokens": 7}),), group="g")
    assert decode_registry(registry.encode()) == registry
    assert decode_registry('{"epoch": 3, "later": 1}') == Registry(epoch=3), "fields of a later version are ignored"
    for text in ("", "[]", '{"epoch": -1}', '{"models": [{"name": "A B"}]}'):
        with pytest.raises(MalformedMessage):
            decode_registry(text)
    with pytest.raises(ValueError, match="twice"):
        Registry(models=registry.models * 2)


def test_a_running_service_goes_over_to_what_is_decided_and_knows_what_leaves(seed: Catalogue) -> None:
    live = LiveCatalogue(seed)
    assert live.resolve("a", "2") == seed.resolve("a", "2") and live.generation("a") == 0
    live.follow(decided(seed, default="1", active=("1",), versions=(new("4", active=False),), generation=7))
    assert [each.label for each in live.served()] == ["a:1", "own:1", "own:2"]
    assert sorted(live.leaving) == ["a:2", "a:4"], "not what the file itself leaves out"
    assert live.generation("a") == 7 and live.find("a") is not None and len(live.models) == 2
    live.follow(Registry(epoch=2))
    assert live.leaving == {} and live.models == seed.models
