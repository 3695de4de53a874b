"""Everything that touches Postgres in a service, except its SQL: connections, errors, preconditions.

It may import `shared.contract`, `shared.service` and `shared.telemetry`.
"""
