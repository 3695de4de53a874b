"""What the services share. Each package imports only those listed below it:

    streams      everything that touches Redis
    telemetry    metrics, the prediction log, traces
    service      settings, lifecycle and probes of a process
    contract     names, messages, rules; pure

It imports no service.
"""
