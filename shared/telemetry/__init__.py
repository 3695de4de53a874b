"""What is told about predictions besides their results: metrics, the log of single predictions, traces.

It imports `shared.contract` and `shared.service`; `spans` alone imports OpenTelemetry.
"""
