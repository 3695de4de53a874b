"""One face of the gateway: /api/v1, health and metrics. `operations` lists all of it.

Handlers parse, call the core, and render; only `gateway.app` imports them.
"""
