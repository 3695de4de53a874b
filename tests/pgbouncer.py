"""A PgBouncer in transaction mode before a Postgres: each transaction may run on another connection to the server."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scripts.stack.ports import LOOPBACK, answers, free_port
from scripts.stack.server import DataServer
from scripts.stack.unprivileged import current_wrapper
from tests.access import ROLES

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

_CONFIGURATION = """
[databases]
* = host={host} port={server}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
default_pool_size = 4
server_round_robin = 1
server_login_retry = 1
"""


class PgBouncer(DataServer):
    """Stands before the server of a URL; takes turns among its connections, as a busy one would."""

    name = "pgbouncer"
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, database_url: str) -> None:
        super().__init__(directory, free_port())
        self._server = urlsplit(database_url)

    @property
    def url(self) -> str:
        return self._server._replace(netloc=f"{self._server.netloc.rpartition(':')[0]}:{self.port}").geturl()

    def prepare(self) -> None:
        """Write the configuration."""
        self.directory.mkdir(parents=True, exist_ok=True)
        users = self.directory / "users.txt"
        passwords = {
            str(self._server.username): unquote(self._server.password or ""),
            **{role: role for role in ROLES.values()},
        }
        users.write_text("".join(f'"{user}" "{password}"\n' for user, password in passwords.items()), encoding="utf-8")
        values = {"host": LOOPBACK, "port": self.port, "server": self._server.port, "users": users}
        configuration = self.directory / "pgbouncer.ini"
        configuration.write_text(_CONFIGURATION.format(**values), encoding="utf-8")
        for path in (self.directory, users, configuration):
            current_wrapper().take_over(path)

    def command(self) -> list[str]:
        return [*current_wrapper().prefix, str(PROGRAM), "-q", str(self.directory / "pgbouncer.ini")]

    def is_ready(self, pid: int) -> bool:
        return answers(self.port)
