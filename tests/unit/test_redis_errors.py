"""How a right that is missing is told, in the words of each kind of server."""

from __future__ import annotations

import pytest

from shared.streams.redis_errors import denied

SCRIPT = "local a = 1\nredis.call('XADD', KEYS[1], '*')\nlocal b = redis.call('XGROUP', 'CREATE', KEYS[1])"
IN_SCRIPT = "The user executing the script can't run this command or subcommand script: c3, on @user_script:%d."
KEY = "The user executing the script can't access at least one of the keys mentioned in the command arguments"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("User x has no permissions to run the 'xadd' command", "may not run 'xadd'"),
        ("this user has no permissions to run the 'config|get' command", "may not run 'config get'"),
        (
            "ACL failure in script: User x has no permissions to run the 'xgroup|create' command",
            "may not run 'xgroup cr",
        ),
        (IN_SCRIPT % 2, "may not run 'xadd'"),
        (IN_SCRIPT % 3, "may not run 'xgroup create'"),
        (IN_SCRIPT % 1, "may not run a command of a script"),
        ("No permissions to access a key", "may not access a key that it needs (the prefix is KEY_PREFIX)"),
        (KEY, "may not access a key that it needs (the prefix is KEY_PREFIX)"),
        ("No permissions to access a channel", "may not access a channel that it needs"),
    ],
)
def test_a_missing_right_is_named(error: str, told: str) -> None:
    assert denied(error, "x", SCRIPT).startswith(f"the Redis user 'x' {told}")


def test_without_a_name_or_a_script_it_is_told_all_the_same() -> None:
    assert denied(IN_SCRIPT % 9) == "the Redis user may not run a command of a script"
    assert denied(IN_SCRIPT % 2, "x") == "the Redis user 'x' may not run a command of a script"
