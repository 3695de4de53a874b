"""What watches Millstream: Prometheus rules, Grafana dashboards, and the checks of both."""
