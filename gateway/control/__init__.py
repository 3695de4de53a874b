"""Who may do what, how much, and at which version: everything that decides about requests before the core gets them.

It imports `gateway.core`, but nothing of `upkeep`, `http` or `api`: those turn what it decides into answers.
"""
