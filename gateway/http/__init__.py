"""What all HTTP APIs share: middleware, problems, bodies, queries, headers, OpenAPI, metrics.

It imports `gateway.core` and `gateway.upkeep`, but no API: an API's paths and schemas do not belong here.
"""
