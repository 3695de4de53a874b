"""Grafana dashboards as code: `python -m monitoring.dashboards --write` writes their JSON."""
