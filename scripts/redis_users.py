"""The users of Redis, one for each service, with the rights that the code declares (shared/streams/access.py).

python -m scripts.redis_users                  print them for a Redis of your own, as commands for its operator
python -m scripts.redis_users --prefix mine:   the same, for keys with that prefix (KEY_PREFIX)
python -m scripts.redis_users --write          make the file that containers start Redis with, and its digest in
                                               compose.yaml, by which compose sees that it has changed
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

from shared.streams.access import OPERATOR, SCALER, USERS, acl_file, rules

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "scripts" / "redis" / "users.acl"
COMPOSE = ROOT / "compose.yaml"
_DIGEST = re.compile(r"(REDIS_USERS_DIGEST: )\w+")


def template() -> str:
    """The users' file with places for what scripts/redis/start.sh puts in: the prefix, and the hashes of passwords."""
    return acl_file("{prefix}", {user: f"{{{user}}}" for user in (OPERATOR, *USERS.values(), SCALER)})


def with_digest(compose: str) -> str:
    """The compose file with the digest of the users' file."""
    digest = hashlib.sha256(template().encode()).hexdigest()[:12]
    return _DIGEST.sub(rf"\g<1>{digest}", compose)


def commands(prefix: str) -> list[str]:
    """The commands that make the users, without their passwords."""
    users = (*USERS.values(), SCALER)
    return [f"ACL SETUSER {user} reset on >PASSWORD {rules(user, prefix)}" for user in users]


def main() -> int:
    """Print the users, or write their file."""
    parser = argparse.ArgumentParser(prog="python -m scripts.redis_users", description=__doc__)
    parser.add_argument("--prefix", default="millstream:", help="of every key")
    parser.add_argument("--write", action="store_true", help="make the file for containers")
    parsed = parser.parse_args()
    if not parsed.write:
        print("\n".join(commands(parsed.prefix)))
        return 0
    FILE.write_text(template(), encoding="utf-8")
    COMPOSE.write_text(with_digest(COMPOSE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
