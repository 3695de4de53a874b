"""Weights that are not those that the catalogue names are not loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from inference_worker.tasks.weights import check_weights
from shared.contract.catalogue import parse_catalogue
from shared.contract.errors import ConfigurationError

ONE, OTHER = (hashlib.sha256(each).hexdigest() for each in (b"one", b"other"))
CATALOGUE = """
[[models]]
name = "tiny"
task = "text-classification"
description = "one"
[[models.versions]]
version = "1"
artifact = "one"
default = true
sha256 = {}
"""


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    return tmp_path


def test_the_only_file_is_compared(artifact: Path) -> None:
    check_weights(str(artifact), ONE)
    (artifact / "model.safetensors").write_bytes(b"onE")
    with pytest.raises(ConfigurationError, match=f"model.safetensors of .* not {ONE}; fetch or copy it again"):
        check_weights(str(artifact), ONE)


def test_several_files_are_compared_by_name(artifact: Path) -> None:
    (artifact / "0_part").mkdir()
    (artifact / "0_part/model.safetensors").write_bytes(b"other")
    named = {"model.safetensors": ONE, "0_part/model.safetensors": OTHER}
    check_weights(str(artifact), named)
    for wanted, told in (
        (ONE, "has 2 [*].safetensors files; name each"),
        ({"model.safetensors": ONE}, "0_part/model.safetensors of .* is in the artifact, and not in `sha256`"),
        ({**named, "gone.safetensors": ONE}, "gone.safetensors of .* is in `sha256`, and not in the artifact"),
        ({**named, "model.safetensors": OTHER}, "model.safetensors of .* is not what the catalogue means"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            check_weights(str(artifact), wanted)


def test_an_artifact_without_weights_has_none_to_compare(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has 0 "):
        check_weights(str(tmp_path / "absent"), ONE)


def test_the_catalogue_takes_one_or_a_table() -> None:
    for value, wanted in ((f'"{ONE}"', ONE), (f'{{ "model.safetensors" = "{ONE}" }}', {"model.safetensors": ONE})):
        (version,) = parse_catalogue(CATALOGUE.format(value)).models[0].versions
        assert version.sha256 == wanted
    for value in ('"abc"', f'"{ONE.upper()}"', "{}", f'{{ "a" = "{ONE[1:]}" }}'):
        with pytest.raises(ConfigurationError, match="sha256"):
            parse_catalogue(CATALOGUE.format(value))
