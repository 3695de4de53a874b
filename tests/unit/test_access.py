"""The rights of the services in Redis: all that each of them needs, nothing that none of its code uses."""

from __future__ import annotations

import inspect
import re
from fnmatch import fnmatchcase

import pytest

from shared.contract.keys import Keys
from shared.streams.access import OPERATOR, SCALER, USERS, acl_file, password_hash, rules
from shared.streams.redis_watch import USES
from tests.redis_uses import reachable

KINDS = sorted({name for name in dir(Keys) if name.islower() and not name.startswith("_")} - {"prefix", "pattern"})


def made(keys: Keys, kind: str) -> str:
    """A key of a kind."""
    maker = getattr(keys, kind)
    return maker if isinstance(maker, str) else str(maker(*("x" for _ in inspect.signature(maker).parameters)))


@pytest.mark.parametrize("prefix", ["millstream:", "{a}.b-", "p"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_pattern_of_a_kind_fits_its_keys_and_no_others(kind: str, prefix: str) -> None:
    keys = Keys(prefix)
    fitting = {other for other in KINDS if fnmatchcase(made(keys, other), keys.pattern(kind))}
    assert fitting == {kind}
    assert not fnmatchcase(made(Keys(f"other{prefix}"), kind), keys.pattern(kind))


@pytest.mark.parametrize("service", USES)
def test_nothing_is_declared_that_the_code_of_a_service_does_not_use(service: str) -> None:
    use, (scripts, commands, names) = USES[service], reachable(service)
    assert set(use.scripts) - scripts == set(), "scripts that nothing runs"
    assert {*use.commands, *use.beside} - commands == set(), "commands that nothing runs"
    assert {*use.keys, *use.channels} - names == set(), "keys that nothing names"


@pytest.mark.parametrize("user", [*USERS.values(), SCALER])
def test_a_user_has_single_commands_of_its_own_keys(user: str) -> None:
    first, *words = rules(user, "p:").split()
    assert first == "resetchannels"
    assert all(re.fullmatch(r"[~&]p:[a-z_]+(:\*)?|\+[a-z]+(\|[a-z]+)?", word) for word in words)
    forbidden = {"acl", "client", "config", "debug", "eval", "flushall", "flushdb", "keys", "monitor", "scan", "script"}
    assert not {f"+{name}" for name in forbidden} & set(words)


def test_a_file_has_a_line_for_each_user_that_has_a_password_and_holds_no_password() -> None:
    text = acl_file("p:", {OPERATOR: password_hash("hunter2"), "worker": password_hash("hunter3")})
    operator, worker = text.splitlines()
    assert operator == f"user default on #{password_hash('hunter2')} ~* &* +@all"
    assert worker == f"user worker on #{password_hash('hunter3')} {rules('worker', 'p:')}"
    assert acl_file("p:", {}) == "user default on nopass ~* &* +@all\n"
    assert password_hash("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
