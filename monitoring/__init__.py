"""Monitoring: Prometheus rules and Grafana dashboards."""
