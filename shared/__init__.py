"""What the services agree on. Floors, each of which imports only what is below it:

    streams      everything that touches Redis
    telemetry    metrics, logs of predictions, traces
    service      how a process is configured, lives, and is probed
    contract     names, messages, rules: pure

No service is imported here.
"""
