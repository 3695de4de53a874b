"""How a process of ours lives: settings, logs, tasks and shutdown, pauses after failures, liveness, probes.

It knows no stream, no store and no metric of ours, and imports only `shared.contract`.
"""
