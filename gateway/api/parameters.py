"""The parameters that operations share, in paths and headers, as OpenAPI describes them."""

from __future__ import annotations

from gateway.api import queries
from gateway.http import idempotency
from gateway.http.openapi import Parameter

PREFER = Parameter(
    "Prefer", "header", "`respond-async` or `wait=S`; the query parameter takes precedence", {"type": "string"}
)
KEY = Parameter(
    "Idempotency-Key",
    "header",
    "a key chosen by the client: for a day, unless configured otherwise, a repeat with it creates no new prediction",
    {"type": "string", "minLength": 1, "maxLength": idempotency.MAX_CHARS, "pattern": idempotency.PATTERN},
)
CACHE = Parameter(
    "Cache-Control", "header", "`no-cache`: compute anew; `no-store`: and keep no result either", {"type": "string"}
)
ID = Parameter("prediction_id", "path", "the id returned by predict", {"type": "string", "format": "uuid"})
LAST_EVENT = Parameter("Last-Event-ID", "header", "`id` of the last event that the client has had", {"type": "string"})
LETTER = Parameter(
    "dead_letter_id",
    "path",
    "an id from the list of dead letters",
    {"type": "string", "pattern": queries.ENTRY_PATTERN},
)
ERASURE = Parameter("erasure_id", "path", "the id of an erasure", {"type": "string", "format": "uuid"})
NAME = Parameter("name", "path", "the name of a model", {"type": "string", "minLength": 1})
VERSION = Parameter("version", "path", "the name of a version of it", {"type": "string", "minLength": 1})
IF_MATCH = Parameter(
    "If-Match", "header", "the `ETag` of the model as it was read; `*`: whatever it is now", {"type": "string"}
)
