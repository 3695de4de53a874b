"""The names of all Redis keys and channels. docs/ARCHITECTURE.md says what each holds."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass

from shared.contract.queues import Priority, Queue


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix.

    Attributes:
        prefix: of every key, for example `millstream:`; may contain a `{hash tag}`.
    """

    prefix: str

    WORKER_GROUP = "workers"
    PERSISTER_GROUP = "persister"

    def requests(self, model: str, version: str, priority: Priority = Priority.INTERACTIVE) -> str:
        """Stream of the requests of one priority that are waiting or running for one model version."""
        return f"{self.prefix}requests:{Queue(model, version, priority).label}"

    @property
    def backlog_bytes(self) -> str:
        """Hash: the bytes that wait in each request stream with entries, by the label of its queue."""
        return f"{self.prefix}backlog_bytes"

    @property
    def results(self) -> str:
        """Stream of finished predictions that are not in Postgres yet."""
        return f"{self.prefix}results"

    @property
    def dead(self) -> str:
        """Stream of dead letters."""
        return f"{self.prefix}dead"

    def prediction(self, prediction_id: str) -> str:
        """Hash: the state of a prediction until it is in Postgres."""
        return f"{self.prefix}prediction:{prediction_id}"

    def idempotency(self, principal: str, key: str) -> str:
        """Hash with a TTL: the predictions of a caller's idempotency key, which stands in its name as a digest."""
        digest = hashlib.sha256(f"{principal}\0{key}".encode()).hexdigest()
        return f"{self.prefix}idempotency:{digest[:40]}"

    def limits(self, principal: str) -> str:
        """Hash with a TTL: what a caller has used of its limits; of '' the prefix of all of them."""
        return f"{self.prefix}limits:{principal}"

    def cached(self, digest: str) -> str:
        """String with a TTL: a result that may be given again, by the HMAC of what it depends on."""
        return f"{self.prefix}cache:{digest}"

    @property
    def cache_generations(self) -> str:
        """Hash: how often the cached results of each tenant were erased."""
        return f"{self.prefix}cache_generations"

    @property
    def deadlines(self) -> str:
        """Sorted set: when each entry of the request streams expires, in ms, by `label entry`."""
        return f"{self.prefix}deadlines"

    @property
    def idempotency_bytes(self) -> str:
        """Hash: the bytes of the records of idempotency keys, by when they were made."""
        return f"{self.prefix}idempotency_bytes"

    def notify(self, gateway_id: str) -> str:
        """Pub/sub channel of hints to one gateway process."""
        return f"{self.prefix}notify:{gateway_id}"

    @property
    def principals(self) -> str:
        """Pub/sub channel: the ids of API keys that are taken back."""
        return f"{self.prefix}principals"

    @property
    def deployment(self) -> str:
        """String: the id of the database that the predictions of this Redis go to."""
        return f"{self.prefix}deployment"

    @property
    def registry(self) -> str:
        """Hash: an epoch for each kind of thing that gateways read from Postgres and must see change soon."""
        return f"{self.prefix}registry"

    def worker(self, worker_id: str) -> str:
        """Hash with a TTL: a worker's heartbeat."""
        return f"{self.prefix}workers:{worker_id}"

    @property
    def workers(self) -> str:
        """Sorted set: the ids of workers, by when their heartbeats expire, in ms."""
        return f"{self.prefix}workers"

    def load_error(self, label: str) -> str:
        """String with a TTL: why a worker cannot load a version, `model:version`."""
        return f"{self.prefix}load_error:{label}"

    def drift(self, label: str) -> str:
        """String with a TTL: how far the answers of a version, `model:version`, have moved, by signal, as JSON."""
        return f"{self.prefix}drift:{label}"

    @property
    def rights(self) -> str:
        """A key that never exists: commands are tried on it, see `shared.streams.redis_watch`."""
        return f"{self.prefix}rights"

    def pattern(self, kind: str) -> str:
        """The pattern of all keys of a kind, as access control lists want it.

        Args:
            kind: the name of the method or property here that makes such keys.
        """
        maker = getattr(self, kind)
        if isinstance(maker, str):
            return maker
        parts = [""] * len(inspect.signature(maker).parameters)
        first = maker(*parts).removeprefix(self.prefix).partition(":")[0]
        return f"{self.prefix}{first}:*"


def request_stream_name(model: str, version: str) -> str:
    """The logical name of both request streams of a version, for metric labels."""
    return f"requests/{model}/{version}"
