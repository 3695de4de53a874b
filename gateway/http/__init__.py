"""What every HTTP answer shares, whatever its face: middleware, problems, bodies, queries, headers, OpenAPI, metrics.

It imports `gateway.core` and `gateway.upkeep`, and no face: a path or a schema of one does not belong here.
"""
