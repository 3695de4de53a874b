"""The gate on what texts cost, in short; `make costs` has every text and version."""

from __future__ import annotations

import pytest

from models.build import build_all
from shared.service.catalogue_file import load_catalogue
from tests.load import costs
from tests.processes import REPOSITORY
from tests.unit.test_tasks_linear import QUADRATIC


@pytest.mark.parametrize("label", ["sentiment-analysis:1.1.0", "text-summarization:1.0.0"])
@pytest.mark.parametrize("name", ["dots", "sentences of a letter", "jamo", "blank lines"])
def test_a_hostile_text_keeps_to_the_bounds(label: str, name: str) -> None:
    build_all()
    catalogue = load_catalogue(REPOSITORY / "models/models.toml")
    (served,) = catalogue.select(label)
    cost = costs.measure(catalogue, served, costs.hostile(name))
    assert costs.faults(cost, served) == []


def test_a_quadratic_splitter_breaks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    build_all()
    catalogue = load_catalogue(REPOSITORY / "models/models.toml")
    (served,) = catalogue.select("text-summarization:1.0.0")
    monkeypatch.setattr("inference_worker.tasks.sentences._BOUNDARY", QUADRATIC)
    cost = costs.measure(catalogue, served, "." * (costs.CHARS // 3))
    assert any(fault.startswith("encoding") for fault in costs.faults(cost, served))
