"""Telemetry: metrics, the prediction log, traces.

It imports `shared.contract` and `shared.service`; only `spans` imports OpenTelemetry.
"""
