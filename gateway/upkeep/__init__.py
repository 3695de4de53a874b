"""What goes on beside requests: expiry, measuring streams, and shutdown.

It imports `gateway.core`, and nothing of `http` or `api`.
"""
