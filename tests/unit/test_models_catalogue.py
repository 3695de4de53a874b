"""The shipped catalogue, and the hub models it shows how to serve."""

from __future__ import annotations

from pathlib import Path

from models.artifacts import ROOT
from models.recipes import RECIPES
from shared.contract.catalogue import HUB_PREFIX, parse_catalogue
from shared.service.catalogue_file import load_catalogue

_FILE = Path(ROOT, "models.toml")


def test_the_catalogue_has_the_promised_versions() -> None:
    catalogue = load_catalogue(_FILE)
    versions = {model.name: [version.version for version in model.versions] for model in catalogue.models}
    assert versions == {
        "sentiment-analysis": ["1.0.0", "1.1.0"],
        "text-summarization": ["1.0.0", "2.0.0"],
        "embeddings": ["1.0.0"],
        "zero-shot-classification": ["1.0.0"],
    }
    defaults = {model.name: model.default_version.version for model in catalogue.models if model.default_version}
    assert defaults["sentiment-analysis"] == "1.1.0" and defaults["text-summarization"] == "1.0.0"


def test_every_artifact_of_the_catalogue_has_a_recipe_and_a_card() -> None:
    artifacts = {version.artifact for model in load_catalogue(_FILE).models for version in model.versions}
    assert artifacts == {f"artifacts/{recipe.name}" for recipe in RECIPES}
    assert all(Path(ROOT, "cards", f"{recipe.name}.md").is_file() for recipe in RECIPES)


def test_the_commented_hub_models_are_valid_when_uncommented() -> None:
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line == "# [[models]]")
    catalogue = parse_catalogue("\n".join([*lines[:start], *(line[2:] for line in lines[start:])]))
    hub = {model.task: model.versions[0].artifact for model in catalogue.models if model.name.startswith("hub-")}
    assert hub["text-classification"].startswith("hf://distilbert/distilbert-base-uncased-finetuned-sst-2-english@")
    assert hub["summarization"].startswith("hf://sshleifer/distilbart-cnn-12-6@")
    assert all(artifact.startswith(HUB_PREFIX) for artifact in hub.values())
