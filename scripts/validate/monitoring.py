"""Checks of what Prometheus, Alertmanager and Grafana read."""

from __future__ import annotations

from scripts.tools.kit import ROOT
from scripts.validate import schemas
from scripts.validate.check import FIXTURES, Check, command, files, one_by_one

HERE = ROOT / "monitoring"
BAD = FIXTURES / "monitoring"
PROMTOOL = {"promtool": "Debian: apt install prometheus; elsewhere the Prometheus release has it"}
AMTOOL = {"amtool": "Debian: apt install prometheus-alertmanager; elsewhere the Alertmanager release has it"}

CHECKS = (
    Check(
        "Prometheus configuration",
        PROMTOOL,
        files("prometheus*.yml", below=HERE),
        {BAD / "prometheus.yml": "scrape_intervall"},
        one_by_one("promtool", "check", "config"),
    ),
    Check(
        "recording and alert rules",
        PROMTOOL,
        files("rules/*.yml", below=HERE),
        {BAD / "rules.yml": "unclosed left parenthesis"},
        command("promtool", "check", "rules"),
    ),
    Check(
        "tests of the rules",
        PROMTOOL,
        files("rules/tests/*.yml", below=HERE),
        {BAD / "rule_test.yml": "MillstreamServiceDown"},
        command("promtool", "test", "rules"),
    ),
    Check(
        "Alertmanager configuration",
        AMTOOL,
        files("alertmanager.yml", below=HERE),
        {BAD / "alertmanager.yml": "nobody"},
        command("amtool", "check-config"),
    ),
    Check(
        "Grafana dashboards (Grafana's schema)",
        {schemas.GENERATOR: ""},
        files("grafana/dashboards/*.json", below=HERE),
        {BAD / "dashboard_unknown_field.json": "panles"},
        schemas.dashboards,
    ),
)
