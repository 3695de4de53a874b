"""What of the monitoring can be checked without its tools: `make validate` has the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.dashboards.__main__ import FOLDER, files
from tests.unit.test_monitoring_expressions import DASHBOARDS, RULES, panels, rules

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs" / "RUNBOOK.md"
ALERTS = {rule["alert"]: rule for _, rule in rules(*RULES) if "alert" in rule}


def rule_tests() -> list[dict[str, Any]]:
    """What the tests of the rules expect of alerts."""
    paths = sorted((ROOT / "monitoring" / "rules" / "tests").glob("*.yml"))
    tests = [each for path in paths for each in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    return [expected for test in tests for expected in test.get("alert_rule_test", [])]


def test_the_dashboards_are_those_that_the_code_makes() -> None:
    assert {
        path: path.read_text(encoding="utf-8") for path in DASHBOARDS
    } == files(), "run: python -m monitoring.dashboards --write"
    assert {path.parent for path in DASHBOARDS} == {FOLDER}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_are_described_and_do_not_overlap(path: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels(path):
        title, place = panel["title"], panel["gridPos"]
        assert panel["description"], title
        assert panel["targets"] and place["x"] + place["w"] <= 24, title
        cells = [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert not [taken[cell] for cell in cells if cell in taken], title
        taken.update(dict.fromkeys(cells, title))


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert path == "docs/RUNBOOK.md"
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_made_to_fire_and_not_to_fire(name: str) -> None:
    outcomes = {bool(each["exp_alerts"]) for each in rule_tests() if each["alertname"] == name}
    assert outcomes == {True, False}
