"""API keys over HTTP: made, used, listed, taken back; what is kept, and what is told; with Postgres away."""

from __future__ import annotations

import re
import zlib
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson
import pytest
from pydantic import SecretStr

from gateway.control import key_admin, known_keys
from gateway.control.api_keys import hmac_of, make, read
from gateway.core.errors import Conflict
from gateway.http.context import AUTHENTICATOR, KEY_ADMIN
from shared.contract.ids import principal_id
from tests.chaos.proxy import Mode, Proxy
from tests.gateways import Client, StartGateway, application_of, scrape
from tests.tokens import by
from tests.waiting import eventually

PEPPER = "pepper" * 6
FORM = re.compile(r"msk_[a-z2-7]{16}_[a-z2-7]{52}_[0-9a-f]{8}")


@pytest.fixture
def start(start_gateway: StartGateway) -> StartGateway:
    """Start a gateway with API keys."""

    async def start_one(**changes: Any) -> Client:
        return await start_gateway(**{"auth": "required", "api_key_pepper": SecretStr(PEPPER), **changes})

    return start_one


@pytest.fixture
async def gateway(start: StartGateway) -> Client:
    return await start()


@pytest.fixture
async def admin(gateway: Client) -> str:
    """A key that may do everything."""
    return await first_admin(gateway)


async def first_admin(gateway: Client) -> str:
    return (await application_of(gateway)[KEY_ADMIN].create_first_admin("root")).text


async def made(gateway: Client, admin: str, **body: Any) -> dict[str, Any]:
    body = {"name": "batch", "scopes": ["predict"], **body}
    async with gateway.post("/api/v1/api-keys", json=body, headers=by(admin)) as answer:
        assert answer.status == 201, await answer.text()
        return dict(await answer.json())


async def status_of(gateway: Client, key: str, path: str = "/api/v1/models", method: str = "GET") -> int:
    async with gateway.request(method, path, headers=by(key)) as answer:
        return answer.status


async def refusal(gateway: Client, admin: str, **body: Any) -> tuple[int, str]:
    body = {"name": "batch", "scopes": ["predict"], **body}
    async with gateway.post("/api/v1/api-keys", json=body, headers=by(admin)) as answer:
        return answer.status, (await answer.json())["detail"]


def another(key: str) -> str:
    """A key with this id and a secret made up, whose checksum is right."""
    wrong = make(bytes(10), bytes(32)).text.split("_")
    body = f"msk_{read(key).id}_{wrong[2]}"
    return f"{body}_{zlib.crc32(body.encode()):08x}"


async def test_a_key_is_shown_once_and_does_what_it_may(gateway: Client, admin: str) -> None:
    new = await made(gateway, admin, models=["ec*"], tenant="acme", profile="small")
    assert FORM.fullmatch(new["key"]) and new["principal"] == principal_id("api-keys:acme", "batch")
    async with gateway.get("/api/v1/models", headers=by(new["key"])) as answer:
        assert [each["name"] for each in (await answer.json())["items"]] == ["echo"]
    assert await status_of(gateway, new["key"], "/api/v1/predictions") == 403
    assert await status_of(gateway, new["key"], "/api/v1/api-keys") == 403
    async with gateway.get("/api/v1/api-keys", headers=by(admin)) as answer:
        text = await answer.text()
        items = orjson.loads(text)["items"]
    assert new["key"].split("_")[2] not in text and admin.split("_")[2] not in text
    listed = next(each for each in items if each["id"] == new["id"])
    assert listed == {name: value for name, value in new.items() if name != "key"}
    assert (listed["tenant"], listed["profile"], listed["models"]) == ("acme", "small", ["ec*"])


async def test_of_a_key_an_hmac_is_kept(gateway: Client, admin: str, database: asyncpg.Connection) -> None:
    row = await database.fetchrow("SELECT * FROM api_keys")
    assert row["secret_hmac"] == hmac_of(read(admin), PEPPER.encode())
    assert admin.split("_")[2] not in str(dict(row))


async def test_a_key_under_another_pepper_is_none(start: StartGateway, gateway: Client, admin: str) -> None:
    other = await start(api_key_pepper=SecretStr("salt" * 8))
    assert [await status_of(each, admin) for each in (gateway, other)] == [200, 401]


async def test_what_is_no_key_is_refused_and_counted(
    gateway: Client, admin: str, database: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    expired = await made(gateway, admin)
    await database.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", expired["id"])
    last = "0" if admin[-1] != "0" else "1"
    wrong = {
        "its checksum is wrong": (admin[:-1] + last, "checksum"),
        "cut off": (admin[:-9], "checksum"),
        "a letter is wrong": (admin.replace("_", "-", 1).replace("-", "_") + "0", "checksum"),
        "made up": (make(b"0123456789", bytes(32)).text, "unknown_api_key"),
        "another's secret": (another(admin), "unknown_api_key"),
        "expired": (expired["key"], "expired"),
    }
    for name, (key, _) in wrong.items():
        async with gateway.get("/api/v1/models", headers=by(key)) as answer:
            assert answer.status == 401, name
            assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    metrics = await scrape(gateway)
    for _, reason in wrong.values():
        assert f'millstream_authentication_failures_total{{reason="{reason}"}}' in metrics
    logged = "".join(str(vars(each)) for each in caplog.records)
    assert not any(key.split("_")[2] in logged for key in (admin, expired["key"]))


async def test_a_key_that_was_taken_back_is_good_nowhere(start: StartGateway, gateway: Client, admin: str) -> None:
    """By the message on the channel: the next look is far away."""
    other = await start()
    new = await made(gateway, admin)
    await heard_by(other)
    assert [await status_of(each, new["key"]) for each in (gateway, other)] == [200, 200]
    path = f"/api/v1/api-keys/{new['id']}"
    assert await status_of(gateway, admin, path, "DELETE") == 204
    assert await status_of(gateway, new["key"]) == 401
    await eventually(lambda: refused(other, new["key"]), "the other gateway has heard of it", timeout_s=10)
    assert await status_of(gateway, admin, path, "DELETE") == 404
    assert await status_of(gateway, admin, "/api/v1/api-keys/nosuchkey", "DELETE") == 404


async def refused(gateway: Client, key: str) -> bool:
    return await status_of(gateway, key) == 401


async def heard_by(gateway: Client) -> None:
    """Wait until a gateway hears of keys that are taken back: it forgets each that it is told of."""
    known = application_of(gateway)[AUTHENTICATOR]._api_keys  # type: ignore[attr-defined]
    before = known._forgotten

    async def heard() -> bool:
        await known._revocations.tell("nobody")
        return bool(known._forgotten > before)

    await eventually(heard, "revocations are heard")


async def test_a_key_that_was_taken_back_is_found_out_without_a_message(
    start: StartGateway, monkeypatch: pytest.MonkeyPatch, database: asyncpg.Connection
) -> None:
    monkeypatch.setattr(known_keys, "LOOK_EVERY_S", 0.05)
    gateway = await start()
    admin = await first_admin(gateway)
    new = await made(gateway, admin)
    assert await status_of(gateway, new["key"]) == 200
    await database.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", new["id"])
    await eventually(lambda: refused(gateway, new["key"]), "it is looked up again")


def test_all_known_keys_are_looked_up_often_enough() -> None:
    """60 s at most until a key that was taken back is good nowhere: a look, a query, and a pause after a failure."""
    assert known_keys.LOOK_EVERY_S + 10 + 5 < 60


async def test_when_a_key_was_used_is_noted_without_a_write_for_each_request(
    start: StartGateway, monkeypatch: pytest.MonkeyPatch, database: asyncpg.Connection
) -> None:
    monkeypatch.setattr(known_keys, "LOOK_EVERY_S", 0.05)
    gateway = await start()
    admin = await first_admin(gateway)
    query = "SELECT last_used_at FROM api_keys"
    assert await database.fetchval(query) is None
    assert await status_of(gateway, admin) == 200

    async def noted() -> object:
        return await database.fetchval(query)

    await eventually(noted, "the use is noted")
    first = await database.fetchval(query)
    for _ in range(5):
        assert await status_of(gateway, admin) == 200
    assert await database.fetchval(query) == first
    async with gateway.get("/api/v1/api-keys", headers=by(admin)) as answer:
        assert (await answer.json())["items"][0]["last_used_at"] is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\0"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"models": []}, "models"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 5000}, "expires_in_days"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named(gateway: Client, admin: str, body: dict[str, Any], said: str) -> None:
    status, detail = await refusal(gateway, admin, **body)
    assert status == 422 and said in detail


async def test_an_administrator_gives_only_what_it_has(gateway: Client, admin: str) -> None:
    limited = await made(gateway, admin, name="ops", scopes=["admin", "read"], models=["ec*", "noop"], tenant="acme")
    key = limited["key"]
    assert await refusal(gateway, key, scopes=["predict"], models=["echo"]) == (
        422,
        "body.scopes: you do not have predict yourself, so you cannot give it",
    )
    assert "you may not use *" in (await refusal(gateway, key, scopes=["read"]))[1]
    assert "you may not use e*" in (await refusal(gateway, key, scopes=["read"], models=["e*", "ec*"]))[1]
    assert "tenant" in (await refusal(gateway, key, scopes=["read"], models=["echo"], tenant="other"))[1]
    made_by_it = await made(gateway, key, scopes=["read", "admin"], models=["echo", "ec*"])
    assert made_by_it["tenant"] == "acme"
    other = await made(gateway, admin, name="theirs", tenant="other", models=["echo"])
    all_models = await made(gateway, admin, name="all", tenant="acme")
    async with gateway.get("/api/v1/api-keys", headers=by(key)) as answer:
        assert {each["id"] for each in (await answer.json())["items"]} == {limited["id"], made_by_it["id"]}
    for each, status in ((other, 404), (all_models, 404), (made_by_it, 204)):
        assert await status_of(gateway, key, f"/api/v1/api-keys/{each['id']}", "DELETE") == status


async def test_keys_of_one_name_are_one_callers_and_change_nothing_of_it(gateway: Client, admin: str) -> None:
    first = await made(gateway, admin, models=["echo"])
    second = await made(gateway, admin, scopes=["read"], expires_in_days=None)
    assert first["principal"] == second["principal"] and second["models"] == ["echo"]
    assert second["expires_at"] is None and first["id"] != second["id"]
    status, detail = await refusal(gateway, admin, models=["*"])
    assert status == 409 and "other models" in detail
    elsewhere = await made(gateway, admin, tenant="acme")
    assert elsewhere["principal"] != first["principal"]


async def test_a_list_has_pages(gateway: Client, admin: str) -> None:
    wanted = {(await made(gateway, admin, name=str(number)))["id"] for number in range(4)} | {read(admin).id}
    found, cursor = [], ""
    while True:
        async with gateway.get(f"/api/v1/api-keys?limit=2{cursor}", headers=by(admin)) as answer:
            page = await answer.json()
        found += [each["id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == sorted(wanted)


async def test_where_nobody_is_asked_no_keys_are_made(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(api_key_pepper=SecretStr(PEPPER))
    async with gateway.post("/api/v1/api-keys", json={"name": "a", "scopes": ["admin"]}) as answer:
        assert answer.status == 409
        assert (await answer.json())["type"] == "urn:millstream:problem:api-keys-not-in-use"


async def test_there_are_only_so_many_keys(gateway: Client, admin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_admin, "MOST_KEYS", 1)
    status, detail = await refusal(gateway, admin)
    assert status == 409 and "there are 1 API keys already" in detail


async def test_the_first_administrator_is_made_while_there_is_none(gateway: Client, admin: str) -> None:
    keys = application_of(gateway)[KEY_ADMIN]
    with pytest.raises(Conflict, match="there is a key with the scope admin"):
        await keys.create_first_admin("again")
    assert await status_of(gateway, admin, f"/api/v1/api-keys/{read(admin).id}", "DELETE") == 204
    assert await status_of(gateway, (await keys.create_first_admin("again")).text) == 200


async def test_known_keys_go_on_while_postgres_is_away(
    start: StartGateway, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "AGAIN_AFTER_S", 0.1)
    parts = urlsplit(database_url)
    proxy = Proxy(parts.port or 5432)
    await proxy.start()
    url = database_url.replace(f":{parts.port}/", f":{proxy.port}/")
    gateway = await start(database_url=url, database_timeout_s=1)
    admin = await first_admin(gateway)
    other = await made(gateway, admin)
    assert await status_of(gateway, admin) == 200
    proxy.set(Mode.REFUSE)

    async def refused_for_now() -> bool:
        async with gateway.get("/api/v1/models", headers=by(other["key"])) as answer:
            if answer.status != 503:
                return False
            assert (await answer.json())["type"] == "urn:millstream:problem:keys-unavailable"
            return answer.headers["Retry-After"] == "2"

    await eventually(refused_for_now, "a key that is not known cannot be looked up")
    assert await status_of(gateway, admin) == 200
    wrong = admin[:-1] + ("0" if admin[-1] != "0" else "1")
    assert await status_of(gateway, wrong) == 401
    proxy.set(Mode.FORWARD)

    async def known_again() -> bool:
        return await status_of(gateway, other["key"]) == 200

    await eventually(known_again, "Postgres is back")
    await proxy.close()
