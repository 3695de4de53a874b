"""The command line of the local stack: `python -m scripts.stack COMMAND`, behind the Makefile."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.stack import commands
from scripts.stack import config as stack_config
from scripts.stack import dotenv
from scripts.stack.binaries import postgres_bin
from scripts.stack.config import StackConfig
from scripts.stack.errors import StackError
from scripts.stack.ports import LOOPBACK
from scripts.stack.postgres import DATABASE, USER
from scripts.stack.redis import redis_url
from scripts.stack.reports import complain, say
from shared.contract.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.contract.catalogue import Catalogue

LOG_LINES = 50
STREAM_ENTRIES = 3
TOOLS = {"admin-key": "gateway.control.admin_key", "verify-audit": "gateway.control.verify_audit"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What follows these two is theirs, dashes too; argparse would claim it.
    cut = 1 if given[:1] in (["psql"], ["redis-cli"]) else len(given)
    parsed = _parser().parse_args(given[:cut])
    parsed.arguments = given[cut:]
    try:
        if parsed.command == "up" and not all(map(os.environ.get, dotenv.NATIVE)):
            commands.make_env(stack_config.ROOT)
        return _run(parsed, stack_config.load(os.environ))
    except StackError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has read enough; nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.stack", description="Run Millstream without Docker.")
    below = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    below.add_parser("up", help="start everything in the background and wait until it is ready")
    below.add_parser("down", help="drain and stop everything")
    below.add_parser("status", help="the services: state, pid, uptime, restarts, port, ready")
    logs = below.add_parser("logs", help="follow the logs of all services")
    logs.add_argument("--lines", type=int, default=LOG_LINES, help="lines of each log to begin with")
    look = below.add_parser("streams", help="every stream: depth, pending, oldest, last entries")
    look.add_argument("--count", type=int, default=STREAM_ENTRIES, help="last entries of each")
    below.add_parser("clean", help="stop, and remove all data and logs")
    below.add_parser("migrate", help="migrate the database and sync the model catalogue into it")
    back = below.add_parser("rollback", help="take back the newest migrations, with the data in what they made")
    back.add_argument("steps", type=_positive, help="how many")
    admin = below.add_parser("admin-key", help="the first API key: it may do everything, and makes all others")
    admin.add_argument("tool", nargs="*", metavar="NAME", help="of whom it is")
    audit = below.add_parser("verify-audit", help="is the audit log whole?")
    audit.add_argument("tool", nargs="*", metavar="NUMBER:DIGEST", help="an entry that was kept elsewhere")
    for name, what in (("psql", "a psql on the database"), ("redis-cli", "a redis-cli on Redis")):
        below.add_parser(name, help=f"{what}; its own arguments may follow")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of migrations; 1 takes back the newest")
    return int(text)


def _run(parsed: argparse.Namespace, config: StackConfig) -> int:
    command: str = parsed.command
    if command in ("streams", "psql", "redis-cli", "migrate", "rollback", *TOOLS):
        config = commands.as_running(config)
    if command == "up":
        commands.up(config)
    elif command == "down":
        commands.down(config)
    elif command == "status":
        return 0 if commands.status(config) else 3
    elif command == "logs":
        commands.follow_logs(config, parsed.lines)
    elif command == "streams":
        _streams(config, parsed.count)
    elif command == "clean":
        commands.clean(config)
    elif command == "migrate":
        return commands.migrate(config)
    elif command == "rollback":
        return commands.migrate(config, parsed.steps)
    elif command in TOOLS:
        return commands.gateway_tool(config, TOOLS[command], parsed.tool)
    elif command == "psql":
        _psql(config, parsed.arguments)
    elif command == "redis-cli":
        _redis_cli(config, parsed.arguments)
    return 0


def _catalogue(config: StackConfig) -> Catalogue | None:
    """The catalogue of the file; None if it cannot be read."""
    from shared.service.catalogue_file import load_catalogue

    try:
        return load_catalogue(Path(config.values.get("MODEL_CATALOGUE", "models/models.toml")))
    except ConfigurationError:
        return None


def _streams(config: StackConfig, count: int) -> None:
    from scripts.stack import streams  # the Redis client takes a tenth of a second, which no other command needs

    url = config.external_redis or redis_url(config.ports["REDIS_PORT"], config.secret(dotenv.REDIS_PASSWORD))
    for line in streams.render(streams.look(url, config.key_prefix, count, _catalogue(config))):
        say(line)


def _psql(config: StackConfig, arguments: Sequence[str]) -> None:
    """Become psql; the password goes through the environment, where other users don't see it."""
    if config.external_database:
        program = shutil.which("psql") or str(postgres_bin() / "psql")
        os.execv(program, ["psql", config.external_database, *arguments])
    program = str(postgres_bin() / "psql")
    place = ["-h", LOOPBACK, "-p", str(config.ports["POSTGRES_PORT"]), "-U", USER, "-d", DATABASE]
    os.execve(program, ["psql", *place, *arguments], {**os.environ, "PGPASSWORD": config.password})


def _redis_cli(config: StackConfig, arguments: Sequence[str]) -> None:
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if program is None:
        raise StackError("redis-cli is not installed (Debian: apt install redis-tools); make streams needs none")
    if config.external_redis:
        os.execv(program, ["redis-cli", "-u", config.external_redis, *arguments])
    place = ["-p", str(config.ports["REDIS_PORT"])]
    password = {"REDISCLI_AUTH": config.secret(dotenv.REDIS_PASSWORD)}
    os.execve(program, ["redis-cli", *place, *arguments], {**os.environ, **password})
