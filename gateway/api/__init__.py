"""The HTTP API: /api/v1, health and metrics. `operations` lists all of it except metrics and docs.

Handlers parse, call the core, and render; outside this package only `gateway.app` imports them.
"""
