"""The frame of a service process: settings, logs, tasks and shutdown, backoff, liveness, probes.

It knows no stream, no store and no metric, and imports only `shared.contract`.
"""
