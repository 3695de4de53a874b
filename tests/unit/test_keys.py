"""The names of Redis keys: all under the prefix, no two alike, an idempotency key belongs to who sent it."""

from __future__ import annotations

from shared.contract.keys import Keys, request_stream_name

KEYS = Keys("p:")


def test_every_key_has_its_own_name_under_the_prefix() -> None:
    named = {
        KEYS.requests("m", "1"): "p:requests:m:1",
        KEYS.results: "p:results",
        KEYS.dead: "p:dead",
        KEYS.prediction("id"): "p:prediction:id",
        KEYS.backlog_bytes: "p:backlog_bytes",
        KEYS.deadlines: "p:deadlines",
        KEYS.idempotency_bytes: "p:idempotency_bytes",
        KEYS.notify("g"): "p:notify:g",
        KEYS.worker("w"): "p:workers:w",
        KEYS.load_error("m:1"): "p:load_error:m:1",
        KEYS.drift("m:1"): "p:drift:m:1",
        KEYS.workers: "p:workers",
    }
    assert list(named) == list(named.values())
    assert (KEYS.WORKER_GROUP, KEYS.PERSISTER_GROUP) == ("workers", "persister")
    assert request_stream_name("m", "1") == "requests/m/1"


def test_an_idempotency_key_belongs_to_who_sent_it() -> None:
    keys = [
        KEYS.idempotency("alice", "k"),
        KEYS.idempotency("bob", "k"),
        KEYS.idempotency("", "k"),
        KEYS.idempotency("alice", "other"),
        KEYS.idempotency("alicek", ""),
        KEYS.idempotency("", "alicek"),
        Keys("q:").idempotency("alice", "k"),
    ]
    assert len(set(keys)) == len(keys)
    assert KEYS.idempotency("alice", "k") == keys[0]
    assert all(len(each) == len("p:idempotency:") + 40 and "alice" not in each for each in keys)
