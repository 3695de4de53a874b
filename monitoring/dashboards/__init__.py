"""Grafana dashboards as code: `python -m monitoring.dashboards --write` makes their JSON."""
