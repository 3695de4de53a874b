"""Models by API: registering versions, making them active or the default, and following what others have decided.

It imports `gateway.core` and `shared`, but nothing of `upkeep`, `http` or `api`.
"""
