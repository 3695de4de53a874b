"""The `.env` file: read in the plain form that docker compose and pydantic read alike, made with fresh passwords.

On a machine of one's own nobody is asked who they are (`AUTH=off`), unless that is changed in the file.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

from scripts.stack.errors import StackError

PASSWORD = "POSTGRES_PASSWORD"
REDIS_PASSWORD = "REDIS_PASSWORD"
REDIS_USERS = {user: f"REDIS_{user.upper()}_PASSWORD" for user in ("gateway", "worker", "persister")}
POSTGRES_USERS = {user: f"POSTGRES_{user.upper()}_PASSWORD" for user in ("gateway", "persister")}
PEPPER = "API_KEY_PEPPER"
SECRETS = (PASSWORD, *POSTGRES_USERS.values(), REDIS_PASSWORD, *REDIS_USERS.values(), "GRAFANA_PASSWORD", PEPPER)
# without which the native stack does not start
NATIVE = tuple(name for name in SECRETS if name not in ("GRAFANA_PASSWORD", PEPPER))
JWT_SECRET = "JWT_SECRET"  # not for who has an issuer of tokens, and so not added to a file that lacks it
GATEWAYS = (PEPPER, JWT_SECRET)  # for the gateway alone
_LINE = re.compile(r"^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$")


def parse(text: str) -> dict[str, str]:
    """The variables of a `.env` text; comments and blank lines are skipped, matching quotes around a value removed.

    Raises:
        StackError: a line is none of these; the message names its number, not its content.
    """
    values = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.match(stripped)
        if match is None:
            raise StackError(f".env line {number} is not NAME=value: correct it, or remove .env and run make env")
        values[match[1]] = _value(match[2].strip())
    return values


def read(path: Path) -> dict[str, str]:
    """The variables of a `.env` file; none where there is no file."""
    return parse(path.read_text(encoding="utf-8")) if path.exists() else {}


def generated(example: str) -> str:
    """The example with a fresh password in each place for one."""
    places = {f"{name}=" for name in (*SECRETS, JWT_SECRET)}
    lines = [f"{line}{secrets.token_urlsafe(24)}" if line in places else line for line in example.splitlines()]
    return "\n".join(lines) + "\n"


def create(path: Path, example: Path) -> bool:
    """Make `.env`, readable by its owner only, from the example; an existing one is left alone and False returned."""
    text = generated(example.read_text(encoding="utf-8"))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def complete(path: Path) -> list[str]:
    """Give `.env` what it lacks or has empty, as one of an earlier version does: passwords, and AUTH; their names."""
    text = path.read_text(encoding="utf-8")
    values = parse(text)
    fresh = {name: secrets.token_urlsafe(24) for name in SECRETS} | {"AUTH": "off"}
    missing = [name for name in fresh if not values.get(name)]
    if missing:
        kept = [line for line in text.splitlines() if line.strip() not in {f"{name}=" for name in missing}]
        added = [f"{name}={fresh[name]}" for name in missing]
        path.write_text("\n".join([*kept, *added]) + "\n", encoding="utf-8")
    return missing


def _value(raw: str) -> str:
    if len(raw) >= 2 and raw[0] == raw[-1] and raw[0] in "\"'":
        return raw[1:-1]
    return re.split(r"\s+#", raw, maxsplit=1)[0]


def main() -> int:
    """`make env`: make `.env` where there is none, and see that it has every password."""
    root = Path(__file__).resolve().parents[2]
    if create(root / ".env", root / ".env.example"):
        print("made .env with fresh passwords")
        return 0
    try:
        added = complete(root / ".env")
    except StackError as error:
        print(f"millstream: {error}", file=sys.stderr)
        return 1
    if added:
        print(f"added to .env: {', '.join(added)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
