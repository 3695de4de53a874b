"""Keys of tokens from an issuer: changed, away, slow, wrong, and never there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.control import key_set
from gateway.control.key_set import AGAIN_AFTER_S, MOST_BYTES, REFRESH_EVERY_S, STALE_AFTER_S, FetchError, KeySet, fetch
from gateway.core.errors import Refused
from gateway.http.context import AUTHENTICATOR
from shared.service.liveness import Liveness
from tests.gateways import Client, StartGateway, application_of, scrape
from tests.tokens import ISSUED, Issuer, PrivateKey, by, ec_key, issuing, public_jwk, rsa_key, token
from tests.waiting import eventually

FIRST, SECOND = rsa_key(), ec_key()
UNAVAILABLE = web.Response(status=503)


class Clock:
    """A monotonic clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing(public_jwk(FIRST, kid="first")) as found:
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def found(issuer: Issuer, clock: Clock) -> AsyncIterator[KeySet]:
    made = KeySet(issuer.url, clock)
    yield made
    await made.close()


async def status_of(gateway: Client, key: PrivateKey, kid: str | None) -> int:
    headers = by(token(key, {} if kid is None else {"kid": kid}))
    async with gateway.get("/api/v1/models", headers=headers) as answer:
        if answer.status == 503:
            assert (await answer.json())["type"] == "urn:millstream:problem:keys-unavailable"
            assert answer.headers["Retry-After"] == "5"
        return answer.status


async def test_tokens_are_verified_by_the_keys_of_the_issuer(issuer: Issuer, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(auth="required", jwks_url=issuer.url, **ISSUED)
    assert [await status_of(gateway, FIRST, kid) for kid in ("first", None)] == [200, 200]
    assert [await status_of(gateway, key, kid) for key, kid in ((SECOND, "first"), (SECOND, None))] == [401, 401]
    assert await status_of(gateway, rsa_key(), "first") == 401
    assert issuer.asked == 1
    assert "millstream_signing_keys_fetched_timestamp_seconds 1" in await scrape(gateway)


async def test_without_a_set_ever_it_cannot_be_said_who_asks(issuer: Issuer, start_gateway: StartGateway) -> None:
    issuer.answer = UNAVAILABLE
    gateway = await start_gateway(auth="required", jwks_url=issuer.url, **ISSUED)
    assert await status_of(gateway, FIRST, "first") == 503

    async def ready() -> bool:
        async with gateway.get("/readyz") as answer:
            return answer.status == 200

    await eventually(ready, "it is ready without keys")


async def test_a_new_key_is_fetched_when_a_token_names_it(issuer: Issuer, found: KeySet, clock: Clock) -> None:
    await found.refresh()
    issuer.keys.append(public_jwk(SECOND, kid="second"))
    assert not await found.find("second", "ES256") and issuer.asked == 1  # it was asked just now
    clock.now += AGAIN_AFTER_S
    assert await found.find("second", "ES256") and issuer.asked == 2 and found.generation == 2


async def test_unknown_keys_have_the_set_fetched_every_30_s_at_most(
    issuer: Issuer, found: KeySet, clock: Clock
) -> None:
    await found.refresh()
    clock.now += AGAIN_AFTER_S
    for number in range(50):
        assert not await found.find(f"guess {number}", "RS256")
    assert issuer.asked == 2


async def test_many_that_ask_for_a_new_key_wait_for_one_fetch(issuer: Issuer, found: KeySet) -> None:
    issuer.hold = asyncio.Event()
    asking = [asyncio.create_task(found.find("first", "RS256")) for _ in range(20)]
    await eventually(lambda: issuer.asked == 1, "the issuer is asked")
    asking[0].cancel()  # a client goes away
    issuer.hold.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError) and all(answers[1:]) and issuer.asked == 1


async def test_keys_hold_for_a_day_while_the_issuer_does_not_answer(
    issuer: Issuer, found: KeySet, clock: Clock
) -> None:
    await found.refresh()
    issuer.answer = UNAVAILABLE
    clock.now += STALE_AFTER_S - 1
    await found.refresh()
    assert await found.find("first", "RS256")
    with pytest.raises(Refused):
        await found.find("second", "ES256")  # nobody can say whether there is such a key
    clock.now += 1
    with pytest.raises(Refused):
        await found.find("first", "RS256")
    issuer.answer = None
    await found.refresh()
    assert await found.find("first", "RS256")


@pytest.mark.parametrize(
    "answer",
    [
        UNAVAILABLE,
        web.Response(body=b"{"),
        web.Response(body=b'{"keys": []}'),
        web.Response(body=b" " * (MOST_BYTES + 1)),
        web.Response(status=302, headers={"Location": "/jwks"}),
        web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["unavailable", "no JSON", "no keys", "too large", "elsewhere", "broken"],
)
async def test_a_set_that_is_no_good_leaves_the_keys_as_they_are(
    issuer: Issuer, found: KeySet, answer: web.Response
) -> None:
    await found.refresh()
    issuer.answer = answer
    await found.refresh()
    assert await found.find("first", "RS256") and issuer.asked == 2 and found.generation == 1


async def test_a_key_that_was_taken_back_is_good_no_more(issuer: Issuer, start_gateway: StartGateway) -> None:
    gateway = await start_gateway(auth="required", jwks_url=issuer.url, **ISSUED)
    headers = by(token(FIRST, {"kid": "first"}))
    issuer.keys = [public_jwk(SECOND, kid="second")]
    async with gateway.get("/api/v1/models", headers=headers) as answer:
        assert answer.status == 200
    await application_of(gateway)[AUTHENTICATOR]._tokens._keys.refresh()  # type: ignore[attr-defined]
    async with gateway.get("/api/v1/models", headers=headers) as answer:
        assert answer.status == 401


async def test_who_does_not_answer_is_given_up(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_set, "WITHIN_S", 0.05)
    issuer.hold = asyncio.Event()
    with pytest.raises(FetchError, match="longer than"):
        await fetch(issuer.url)
    issuer.hold.set()


async def test_nobody_at_the_address_is_told(issuer: Issuer) -> None:
    with pytest.raises(FetchError, match="Cannot connect"):
        await fetch("http://127.0.0.1:1/jwks")


async def test_the_set_is_fetched_again_and_again_and_sooner_after_a_failure(
    issuer: Issuer, found: KeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    stop = asyncio.Event()

    class Impatient(Liveness):
        async def wait(self, loop: str, stop: asyncio.Event, timeout_s: float) -> bool:
            pauses.append(timeout_s)
            issuer.answer = UNAVAILABLE if len(pauses) in (2, 3) else None
            return len(pauses) > 4

    issuer.answer = UNAVAILABLE
    await found.refresh()
    await found.run(stop, Impatient(30))
    assert pauses == [key_set.FIRST_AGAIN_AFTER_S, REFRESH_EVERY_S, AGAIN_AFTER_S, AGAIN_AFTER_S, REFRESH_EVERY_S]
