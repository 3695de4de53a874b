"""The file of Redis's users that containers start with: made from the code, and filled in by scripts/redis/start.sh."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.redis_users import COMPOSE, FILE, ROOT, commands, template, with_digest
from shared.streams.access import OPERATOR, SCALER, USERS, acl_file, password_hash

PASSWORDS = {OPERATOR: "it's @:/%?#&|\\ long", "gateway": "{worker}", "worker": "$HOME", "persister": "é", SCALER: "-n"}
VARIABLES = {
    OPERATOR: "REDISCLI_AUTH",
    **{user: f"REDIS_{user.upper()}_PASSWORD" for user in PASSWORDS if user != OPERATOR},
}


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script, with a program in the place of Redis that prints its arguments."""
    program = folder / "redis-server"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "RUN_FOLDER": str(folder), **environment}
    script = str(ROOT / "scripts" / "redis" / "start.sh")
    return subprocess.run(
        ["sh", script, "--save", ""], env=given, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("prefix", [None, "{gateway}.mine-"])
@pytest.mark.parametrize("users", [list(PASSWORDS), [OPERATOR, *USERS.values()]])
def test_the_script_makes_the_file_that_the_native_stack_has(
    tmp_path: Path, users: list[str], prefix: str | None
) -> None:
    given = {VARIABLES[user]: PASSWORDS[user] for user in users}
    done = start(tmp_path, **given, **({} if prefix is None else {"KEY_PREFIX": prefix}))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["--aclfile", f"{tmp_path}/users.acl", "--save", ""]
    made = tmp_path / "users.acl"
    expected = acl_file(prefix or "millstream:", {user: password_hash(PASSWORDS[user]) for user in users})
    assert made.read_text(encoding="utf-8") == expected
    assert made.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("user", [OPERATOR, *USERS.values()])
def test_a_password_that_is_missing_is_named(tmp_path: Path, user: str) -> None:
    given = {variable: "x" for other, variable in VARIABLES.items() if other != user}
    done = start(tmp_path, **given)
    assert done.returncode == 1 and f"the password of Redis's user {user} is empty" in done.stderr
    assert done.stdout == ""


def test_the_file_and_its_digest_in_the_compose_file_are_current() -> None:
    assert FILE.read_text(encoding="utf-8") == template(), "python -m scripts.redis_users --write"
    compose = COMPOSE.read_text(encoding="utf-8")
    assert with_digest(compose) == compose, "python -m scripts.redis_users --write"
    assert len(re.findall(r"REDIS_USERS_DIGEST: [0-9a-f]{12} ", compose)) == 1


def test_the_commands_for_another_redis_have_a_line_for_each_user() -> None:
    lines = commands("mine:")
    assert [line.split()[2] for line in lines] == [*USERS.values(), SCALER]
    assert all(line.split()[3:6] == ["reset", "on", ">PASSWORD"] and "~mine:results" in line for line in lines)
