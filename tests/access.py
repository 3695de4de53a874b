"""Each service under its own user, as it runs in the stacks; a test itself is the operator, who needs no password here.

The users are those of the stacks, for whatever prefix. Their passwords are their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import SecretStr

from scripts.stack import redis as stack_redis
from shared.contract.keys import Keys
from shared.service.settings import Settings
from shared.streams.access import SCALER, USERS, acl_file, password_hash
from shared.streams.redis_client import connect
from shared.streams.shard import Shard

ROLES = {"gateway": "millstream_gateway", "persister": "millstream_persister"}  # in Postgres
ROLE_PASSWORDS: dict[str, Any] = {f"{service}_role_password": SecretStr(role) for service, role in ROLES.items()}
ANY_PREFIX = "*"
USERS_FILE = acl_file(ANY_PREFIX, {user: password_hash(user) for user in (*USERS.values(), SCALER)})
running_redis = partial(stack_redis.running_redis, users=USERS_FILE)


def redis_url_of(service: str, operators_url: str) -> str:
    """The URL of a Redis for a service, from that for its operator."""
    user = USERS[service]
    return operators_url.replace("redis://", f"redis://{user}:{user}@") if "@" not in operators_url else operators_url


def database_url_of(service: str, owners_url: str) -> str:
    """The URL of a database for a service, from that for its owner."""
    role = ROLES.get(service, "nobody")
    return f"postgresql://{role}:{role}@{owners_url.partition('@')[2]}"


def environment_of(service: str, operators: Mapping[str, str]) -> dict[str, str]:
    """The settings of a service, from those that lead to the same stores as their operator."""
    stores = {"REDIS_URL": redis_url_of(service, operators["REDIS_URL"])}
    return {**operators, **stores, "DATABASE_URL": database_url_of(service, operators["DATABASE_URL"])}


def shard_of(service: str, operator: Any, keys: Keys) -> Shard:
    """A Redis as a service sees it, from the operator's client; closed with that."""
    clients: dict[str, Any] = operator.__dict__.setdefault("clients_of_services", {})
    if service not in clients:
        place = operator.connection_pool.connection_kwargs
        url = redis_url_of(service, f"redis://{place['host']}:{place['port']}/{place.get('db') or 0}")
        clients[service] = connect(Settings(redis_url=SecretStr(url)), retry_once=True)
        operator.aclose = partial(_close, clients[service], operator.aclose)
    return Shard(clients[service], keys)


async def refusals(operator: Any) -> list[tuple[str, str]]:
    """What services were refused since the last look, by user and command, key or channel."""
    log = await operator.execute_command("ACL", "LOG")
    await operator.execute_command("ACL", "LOG", "RESET")
    entries = [dict(zip(each[::2], each[1::2], strict=True)) if isinstance(each, list) else each for each in log]
    told = [{_text(name): _text(value) for name, value in each.items()} for each in entries]
    return [
        (each["username"], f"{each['reason']} {each['object']}")
        for each in told
        if each["username"] in USERS.values() and each["reason"] != "auth"
    ]


async def _close(client: Any, close_operator: Any) -> None:
    await client.aclose()
    await close_operator()


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
