"""Known API keys: what is asked of Postgres, what is kept for how long, and what is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from gateway.control import known_keys
from gateway.control.api_keys import ApiKey, hmac_of, make
from gateway.control.key_store import StoredKey
from gateway.control.known_keys import AGAIN_AFTER_S, GOOD_FOR_S, UNKNOWN_FOR_S, KnownKeys
from gateway.core.errors import Refused, Unauthenticated
from gateway.core.principal import Principal, Scope
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import principal_id

PEPPER = b"pepper" * 6
NEVER = datetime(2026, 1, 1, tzinfo=UTC)


def key(number: int) -> ApiKey:
    return make(number.to_bytes(10, "big"), number.to_bytes(32, "big"))


class Store:
    """Keys in memory.

    Attributes:
        asked: the ids of each query.
        hold: queries are answered once it is set.
    """

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = {each.id: self.stored(each) for each in keys}
        self.asked: list[list[str]] = []
        self.used: list[Mapping[str, datetime]] = []
        self.away = False
        self.hold: asyncio.Event | None = None
        self.error: Exception = StoreUnavailable("postgres", "away", "connection")

    def stored(self, each: ApiKey, revoked_at: datetime | None = None) -> StoredKey:
        principal = Principal(principal_id("api-keys:", each.id), frozenset({Scope.READ}))
        return StoredKey(each.id, "a", principal, hmac_of(each, PEPPER), NEVER, None, revoked_at)

    async def find(self, ids: Sequence[str]) -> dict[str, StoredKey]:
        self.asked.append(list(ids))
        found = {each: self.keys[each] for each in ids if each in self.keys}
        if self.hold is not None:
            await self.hold.wait()
        if self.away:
            raise self.error
        return found

    async def note_used(self, at: Mapping[str, datetime]) -> None:
        self.used.append(at)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def known_of(store: Store, clock: Clock) -> KnownKeys:
    return KnownKeys(store, cast(Any, None), PEPPER, clock)


async def test_a_known_key_is_looked_up_once(clock: Clock) -> None:
    store = Store(key(1))
    known = known_of(store, clock)
    for _ in range(3):
        assert (await known.principal(key(1).text)).scopes == {Scope.READ}
    assert store.asked == [[key(1).id]]


async def test_a_known_key_is_good_for_an_hour_without_postgres_and_another_cannot_be_told(clock: Clock) -> None:
    store = Store(key(1), key(2))
    known = known_of(store, clock)
    await known.principal(key(1).text)
    store.away = True
    clock.now += GOOD_FOR_S - 1
    with pytest.raises(StoreUnavailable):
        await known.refresh()
    assert await known.principal(key(1).text)
    with pytest.raises(Refused) as error:
        await known.principal(key(2).text)
    assert error.value.reason == "keys-unavailable"
    clock.now += 1
    with pytest.raises(Refused):
        await known.principal(key(1).text)
    store.away = False
    clock.now += AGAIN_AFTER_S
    assert await known.principal(key(1).text) and await known.principal(key(2).text)


async def test_while_postgres_is_away_it_is_asked_once_a_second(clock: Clock) -> None:
    store = Store()
    store.away = True
    known = known_of(store, clock)
    for number in range(20):
        with pytest.raises(Refused):
            await known.principal(key(number).text)
    assert len(store.asked) == 1
    clock.now += AGAIN_AFTER_S
    with pytest.raises(Refused):
        await known.principal(key(1).text)
    assert len(store.asked) == 2


async def test_who_waits_is_told_whatever_goes_wrong(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.away, store.error = True, ZeroDivisionError()
    with pytest.raises(Refused):
        await known_of(store, clock).principal(key(1).text)
    assert "API keys not looked up" in caplog.text


async def test_guesses_are_one_query_at_a_time_and_each_once_a_minute(clock: Clock) -> None:
    store = Store()
    store.hold = asyncio.Event()
    known = known_of(store, clock)
    guesses = [asyncio.create_task(known.principal(key(number).text)) for number in range(900)]
    guesses += [asyncio.create_task(known.principal(key(0).text)) for _ in range(10)]
    while not store.asked:
        await asyncio.sleep(0)
    store.hold.set()
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    assert all(isinstance(each, Unauthenticated) and each.reason == "unknown_api_key" for each in answers)
    assert len(store.asked) <= 4 and sum(map(len, store.asked)) == 900
    before = len(store.asked)
    with pytest.raises(Unauthenticated):
        await known.principal(key(5).text)
    assert len(store.asked) == before
    clock.now += UNKNOWN_FOR_S
    with pytest.raises(Unauthenticated):
        await known.principal(key(5).text)
    assert len(store.asked) == before + 1


async def test_so_many_wait_for_a_query_and_no_more(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MOST_ASKED", 3)
    store = Store()
    store.hold = asyncio.Event()
    known = known_of(store, clock)
    waiting = [asyncio.create_task(known.principal(key(number).text)) for number in range(3)]
    while not store.asked:
        await asyncio.sleep(0)
    with pytest.raises(Refused):
        await known.principal(key(9).text)
    store.hold.set()
    assert all(isinstance(each, Unauthenticated) for each in await asyncio.gather(*waiting, return_exceptions=True))


async def test_a_checksum_that_is_wrong_asks_nobody(clock: Clock) -> None:
    store = Store(key(1))
    text = key(1).text
    for wrong in (text[:-1] + ("0" if text[-1] != "0" else "1"), text + "0", text.upper(), "msk_a_b_c"):
        with pytest.raises(Unauthenticated) as error:
            await known_of(store, clock).principal(wrong)
        assert error.value.reason == "checksum"
    assert store.asked == []


async def test_so_many_keys_are_kept_known_or_not(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MOST_KNOWN", 2)
    monkeypatch.setattr(known_keys, "MOST_UNKNOWN", 2)
    store = Store(*map(key, range(3)))
    known = known_of(store, clock)
    for number in (0, 1, 2, 10, 11, 12):
        with suppress(Unauthenticated):
            await known.principal(key(number).text)
    assert (len(known._known), len(known._unknown)) == (2, 2)


async def test_a_look_finds_what_was_taken_back(clock: Clock) -> None:
    store = Store(key(1), key(2))
    known = known_of(store, clock)
    await known.principal(key(1).text)
    await known.principal(key(2).text)
    store.keys[key(1).id] = store.stored(key(1), NEVER)
    del store.keys[key(2).id]
    await known.refresh()
    for number, reason in ((1, "revoked"), (2, "unknown_api_key")):
        with pytest.raises(Unauthenticated) as error:
            await known.principal(key(number).text)
        assert error.value.reason == reason
    assert len(store.used) == 1 and set(store.used[0]) == {key(1).id, key(2).id}


async def test_what_was_found_before_a_key_was_taken_back_is_not_kept(clock: Clock) -> None:
    store = Store(key(1))
    store.hold = asyncio.Event()
    known = known_of(store, clock)
    looking = asyncio.create_task(known.principal(key(1).text))
    while not store.asked:
        await asyncio.sleep(0)
    known.forget(key(1).id)  # the query has read the row before it was changed
    store.keys[key(1).id] = store.stored(key(1), NEVER)
    store.hold.set()
    await looking
    with pytest.raises(Unauthenticated):
        await known.principal(key(1).text)


async def test_who_goes_away_takes_nothing_from_who_waits_for_the_same(clock: Clock) -> None:
    store = Store(key(1))
    store.hold = asyncio.Event()
    known = known_of(store, clock)
    first, second = (asyncio.create_task(known.principal(key(1).text)) for _ in range(2))
    while not store.asked:
        await asyncio.sleep(0)
    first.cancel()
    store.hold.set()
    assert await second
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], asyncio.CancelledError)
    await known.close()
