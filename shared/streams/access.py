"""Who may do what in Redis: a user for each service, whose rights are made from `USES`. Pure.

The rules are those of its access control lists (ACL), in the form that Redis 6.2, 7 and Valkey read alike: without
selectors, and without rights to read only. What a user may not do is refused, also within a script: a service that is
taken over reads nothing of another's, empties nothing and changes no setting.

One user more is for KEDA, which asks how long the streams are. `default` is the operator's: it may do everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from shared.contract.keys import Keys
from shared.streams.redis_watch import USES, commands_of

OPERATOR = "default"
USERS = {"gateway": "gateway", "inference_worker": "worker", "persister": "persister"}  # by service
SCALER = "scaler"
# What the client itself sends: AUTH and HELLO are everybody's.
_OF_THE_CLIENT = ("EVALSHA", "INFO", "PING", "SCRIPT EXISTS", "SCRIPT LOAD", "SELECT")


def rules(user: str, prefix: str) -> str:
    """What a user may do, as Redis's ACL says it: separated by spaces, without its password.

    Args:
        user: one of `USERS`, the scaler, or the operator.
        prefix: of every key.
    """
    if user == OPERATOR:
        return "~* &* +@all"
    if user == SCALER:
        return _rules(Keys(prefix), ("PING", "SELECT", "XLEN"), ("requests", "results"))
    service = next(service for service, name in USERS.items() if name == user)
    use = USES[service]
    commands = (*commands_of(service), *use.beside, *_OF_THE_CLIENT)
    return _rules(Keys(prefix), commands, (*use.keys, "rights"), use.channels)


def acl_file(prefix: str, hashes: Mapping[str, str]) -> str:
    """The file of users that Redis reads at its start (`aclfile`).

    Args:
        hashes: SHA-256 of the password in hexadecimal digits, by user; who is not among them is no user, except the
            operator, who without one needs no password.
    """
    hashed = {OPERATOR: "", **hashes}
    lines = [
        f"user {user} on {f'#{hashed[user]}' if hashed[user] else 'nopass'} {rules(user, prefix)}"
        for user in (OPERATOR, *USERS.values(), SCALER)
        if user in hashed
    ]
    return "".join(f"{line}\n" for line in lines)


def password_hash(password: str) -> str:
    """A password as an ACL holds it."""
    return hashlib.sha256(password.encode()).hexdigest()


def _rules(keys: Keys, commands: Sequence[str], kinds: Sequence[str], channels: Sequence[str] = ()) -> str:
    granted = [*(f"~{keys.pattern(kind)}" for kind in kinds), *(f"&{keys.pattern(kind)}" for kind in channels)]
    granted += [f"+{name}" for name in sorted({each.lower().replace(" ", "|") for each in commands})]
    return " ".join(["resetchannels", *granted])
