"""Background work: expiring requests, measuring streams, and shutdown.

It imports `gateway.core`, but nothing of `http` or `api`.
"""
