"""Every metric of the pipeline, declared once. Label values are bounded: models and versions come from the catalogue,
streams are logical names (`requests/sentiment-analysis/1.0.0`), an unknown model is `unknown`, and `label` has at most
the first 20 labels of a model's configuration, and `other`."""

from __future__ import annotations

from typing import Protocol

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info, disable_created_metrics

# Otherwise the library adds a `_created` series to each counter and histogram, which nothing uses.
disable_created_metrics()  # type: ignore[no-untyped-call]

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

HTTP_REQUESTS = Counter(
    "millstream_http_requests_total", "HTTP requests answered", ["method", "endpoint", "model", "status"]
)
HTTP_DURATION = Histogram(
    "millstream_http_request_duration_seconds",
    "Time to answer an HTTP request, including waiting",
    ["endpoint", "model"],
    buckets=_LATENCY,
)
HTTP_IN_FLIGHT = Gauge("millstream_http_requests_in_flight", "HTTP requests being answered")
ERRORS = Counter("millstream_errors_total", "Errors and refusals, by component and kind", ["component", "kind"])
LOG_LINES_DROPPED = Counter(
    "millstream_log_lines_dropped_total", "Log lines dropped, since nobody reads them or the disk is full"
)
AUTHENTICATION_FAILURES = Counter(
    "millstream_authentication_failures_total", "Requests of which it is not known who asks, by why", ["reason"]
)
SIGNING_KEYS_FETCHED = Gauge(
    "millstream_signing_keys_fetched_timestamp_seconds", "When the keys of tokens were last fetched from JWKS_URL"
)
CONFIDENCE = Histogram(
    "millstream_prediction_confidence",
    "Confidence of successful predictions",
    ["model", "version"],
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1),
)
CACHE_REQUESTS = Counter(
    "millstream_cache_requests_total",
    "Requests that might be answered by the cache: hit or miss",
    ["model", "outcome"],
)
PREDICTIONS = Counter("millstream_predictions_total", "Predictions finished", ["model", "version", "status"])
PREDICTIONS_BY_LABEL = Counter(
    "millstream_predictions_by_label_total",
    "Successful predictions by predicted label, for models whose configuration names labels",
    ["model", "version", "label"],
)
EXPERIMENT_REQUESTS = Counter(
    "millstream_experiment_requests_total", "Requests given to the arms of the experiments that run", ["model", "arm"]
)
SHADOW_COPIES = Counter(
    "millstream_shadow_copies_total",
    "Requests copied for a shadow version: accepted, refused (its queue is too long) or unavailable (the queue is)",
    ["model", "outcome"],
)
MODELS_ACTIVE = Gauge("millstream_models_active", "Model versions served by at least one live worker")
WORKERS_LIVE = Gauge("millstream_workers_live", "Live workers", ["model", "version"])
MODEL_GROUP = Gauge("millstream_model_group", "1 for each model that has a group", ["model", "group"])
DB_POOL = Gauge(
    "millstream_db_pool_connections", "Postgres connections: idle, used, and the limit", ["component", "state"]
)
QUEUE_DEPTH = Gauge("millstream_queue_depth", "Entries in a stream, waiting and running", ["stream", "priority"])
QUEUE_PENDING = Gauge("millstream_queue_pending", "Entries delivered but not finished", ["stream", "priority"])
QUEUE_OLDEST_AGE = Gauge(
    "millstream_queue_oldest_age_seconds", "Age of the oldest entry in a stream", ["stream", "priority"]
)
REDIS_MEMORY = Gauge("millstream_redis_memory_bytes", "Redis memory: used, and the limit (0: none)", ["kind"])
REDIS_CHECK_FAILED = Gauge(
    "millstream_redis_check_failed", "1 if Redis is not as this component needs it, by check", ["component", "check"]
)
QUEUE_WAIT = Histogram(
    "millstream_queue_wait_seconds", "Time from accept to compute", ["model", "version", "priority"], buckets=_LATENCY
)
BATCH_SIZE = Histogram("millstream_batch_size", "Requests computed together", ["model", "version"], buckets=_SIZES)
INFERENCE_DURATION = Histogram(
    "millstream_inference_duration_seconds", "Time to compute one batch", ["model", "version"], buckets=_LATENCY
)
PERSIST_BATCH_SIZE = Histogram("millstream_persist_batch_size", "Rows written together", buckets=_SIZES)
PERSIST_LAG = Histogram("millstream_persist_lag_seconds", "Time from completion to the committed row", buckets=_LATENCY)
REDELIVERIES = Counter("millstream_redeliveries_total", "Abandoned entries claimed by another consumer", ["stream"])
CHILD_RESTARTS = Counter(
    "millstream_child_restarts_total",
    "Processes of a model that were lost and replaced",
    ["model", "version", "reason"],
)
CHILDREN = Gauge("millstream_children", "Processes of a model that can compute", ["model", "version"])
MODEL_MEMORY = Gauge("millstream_model_memory_bytes", "Memory of a model's processes", ["model", "version"])
DEVICE_MEMORY = Gauge(
    "millstream_device_memory_bytes",
    "Memory of a GPU: what a model's processes have taken of it, and what it has",
    ["model", "version", "device", "kind"],
)
MODEL_UNLOADS = Counter(
    "millstream_model_unloads_total", "Times a version was unloaded to make room for another", ["model", "version"]
)
WAITING_FOR_MEMORY = Gauge(
    "millstream_model_waiting_for_memory",
    "1 while a version that is needed has no room within WORKER_MEMORY_MB",
    ["model", "version"],
)
LOAD_FAILURES = Counter("millstream_model_load_failures_total", "Times a version was not loaded", ["model", "version"])
LOAD_SECONDS = Gauge("millstream_model_load_seconds", "Time that loading a version took", ["model", "version"])
DEAD_LETTERS = Counter(
    "millstream_dead_letters_total", "Entries dead-lettered; aged_out: deleted as too old", ["stream", "reason"]
)
WEBHOOKS = Counter("millstream_webhooks_total", "Tries to deliver callbacks", ["outcome"])
DRIFT_PSI = Gauge(
    "millstream_drift_psi",
    "Shift of the newest predictions against the first ones (population stability index)",
    ["model", "version", "signal"],
)
BUILD = Info("millstream_build", "Version of the software")

__all__ = ["REGISTRY"]


class Pool(Protocol):
    """A pool of database connections."""

    def get_size(self) -> int:
        """Open connections."""

    def get_idle_size(self) -> int:
        """Open connections that are not in use."""

    def get_max_size(self) -> int:
        """The limit."""


def watch_pool(component: str, pool: Pool) -> None:
    """Have each scrape read the sizes of a pool."""
    DB_POOL.labels(component, "idle").set_function(pool.get_idle_size)
    DB_POOL.labels(component, "used").set_function(lambda: pool.get_size() - pool.get_idle_size())
    DB_POOL.labels(component, "limit").set_function(pool.get_max_size)
