"""The parameters that operations share, in paths and headers, as OpenAPI describes them."""

from __future__ import annotations

from gateway.api import queries
from gateway.http import idempotency
from gateway.http.openapi import Parameter

PREFER = Parameter(
    "Prefer",
    "header",
    "`respond-async` or `wait=S`; the query parameter takes precedence",
    {"type": "string", "examples": ["wait=5"]},
)
KEY = Parameter(
    "Idempotency-Key",
    "header",
    "a key chosen by the client: for a day, unless configured otherwise, a repeat with it creates no new prediction",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": idempotency.MAX_CHARS,
        "pattern": idempotency.PATTERN,
        "examples": ["order-4711"],
    },
)
CACHE = Parameter(
    "Cache-Control",
    "header",
    "`no-cache`: compute anew; `no-store`: and keep no result either",
    {"type": "string", "examples": ["no-cache"]},
)
ID = Parameter(
    "prediction_id",
    "path",
    "the id returned by predict",
    {"type": "string", "format": "uuid", "examples": ["01a22136-d5bd-7000-b2ca-b39d02441e67"]},
)
LAST_EVENT = Parameter(
    "Last-Event-ID", "header", "`id` of the last event that the client has had", {"type": "string", "examples": ["3"]}
)
LETTER = Parameter(
    "dead_letter_id",
    "path",
    "an id from the list of dead letters",
    {"type": "string", "pattern": queries.ENTRY_PATTERN, "examples": ["1764316800000-0"]},
)
ERASURE = Parameter(
    "erasure_id",
    "path",
    "the id of an erasure",
    {"type": "string", "format": "uuid", "examples": ["01a22136-d5bd-7000-b2ca-b39d02441e67"]},
)
NAME = Parameter(
    "name", "path", "the name of a model", {"type": "string", "minLength": 1, "examples": ["sentiment-analysis"]}
)
VERSION = Parameter(
    "version", "path", "the name of a version of it", {"type": "string", "minLength": 1, "examples": ["1.0.0"]}
)
IF_MATCH = Parameter(
    "If-Match",
    "header",
    "the `ETag` of the model as it was read; `*`: whatever it is now",
    {"type": "string", "examples": ['"3"']},
)
