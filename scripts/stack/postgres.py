"""A Postgres of our own: made, started and stopped without root rights, on the loopback interface, with a password."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from scripts.stack.binaries import postgres_bin
from scripts.stack.errors import StackError
from scripts.stack.ports import LOOPBACK, answers, free_port
from scripts.stack.server import DataServer
from scripts.stack.unprivileged import Wrapper, current_wrapper

USER = "millstream"
DATABASE = "millstream"
INIT_TIMEOUT_S = 60.0
# Lost without them are only power cuts: the system keeps what was written, so a killed Postgres loses nothing. It must
# still write at each commit: synchronous_commit stays on.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class PostgresServer(DataServer):
    """A cluster in one folder with one superuser and one database, both called millstream."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": open transactions are rolled back, clients are sent away

    def __init__(
        self,
        directory: Path,
        port: int,
        password: str,
        *,
        settings: Mapping[str, str] | None = None,
        programs: Path | None = None,
        wrapper: Wrapper | None = None,
    ) -> None:
        super().__init__(directory.absolute(), port)
        self.password = password
        self._settings = dict(settings or {})
        self._programs = programs or postgres_bin()
        self._wrapper = wrapper or current_wrapper()

    @property
    def url(self) -> str:
        return database_url(self.port, self.password)

    def program(self, name: str) -> Path:
        """One of Postgres' own programs, such as psql or pg_dump (the folder may lack some)."""
        return self._programs / name

    def prepare(self) -> None:
        """Make the cluster where there is none: initdb elsewhere, then one rename, so that no half of one remains.

        Raises:
            StackError: initdb refused; the message holds its last words.
        """
        if (self.directory / "PG_VERSION").exists():
            self._forget_dead_owner()
            return
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{self.directory.name}-", dir=self.directory.parent) as scratch:
            folder = Path(scratch)
            self._wrapper.take_over(folder)
            cluster = folder / "cluster"
            self._initdb(folder, cluster)
            self._single(cluster, CREATE_DATABASE)
            if self.directory.is_dir():
                self.directory.rmdir()  # an empty folder made beforehand
            cluster.rename(self.directory)

    def prepare_with_password(self) -> None:
        """Make the cluster, or give an existing one the present password: `.env` decides, even when made anew."""
        existed = (self.directory / "PG_VERSION").exists()
        self.prepare()
        if existed:
            quoted = self.password.replace("'", "''")
            self._single(self.directory, f"ALTER ROLE {USER} PASSWORD '{quoted}'\n")

    def command(self) -> list[str]:
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            **self._settings,
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [*self._wrapper.prefix, str(self.program("postgres")), "-D", str(self.directory), *flags]

    def is_ready(self, pid: int) -> bool:
        """Postgres writes its pid into the first line of its lock file and its state into the last."""
        try:
            lines = (self.directory / LOCK_FILE).read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready" and answers(self.port)

    def _forget_dead_owner(self) -> None:
        """Remove the lock file that a power cut left if its pid is another program's by now.

        Postgres sees only that some process has the pid, and refuses to start. Where it cannot be known (not Linux),
        the file stays.
        """
        lock = self.directory / LOCK_FILE
        with contextlib.suppress(OSError, IndexError):
            pid = lock.read_text(encoding="utf-8").split()[0]
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() != "postgres":
                lock.unlink()

    def _initdb(self, folder: Path, cluster: Path) -> None:
        password_file = folder / "password"
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self.password + "\n")
        self._wrapper.take_over(password_file)
        options = ["--auth=scram-sha-256", f"--pwfile={password_file}", f"--username={USER}"]
        options += ["--encoding=UTF8", "--no-locale", "--no-instructions"]
        self._run([str(self.program("initdb")), f"--pgdata={cluster}", *options])

    def _single(self, cluster: Path, statement: str) -> None:
        """Run a statement without a server: nobody can connect meanwhile, and no password is needed."""
        options = ["-c", "log_min_messages=fatal", "-c", "log_min_error_statement=panic"]
        self._run([str(self.program("postgres")), "--single", *options, "-D", str(cluster), "postgres"], statement)

    def _run(self, command: list[str], text: str = "") -> None:
        done = subprocess.run(
            [*self._wrapper.prefix, *command],
            input=text,
            text=True,
            capture_output=True,
            cwd=self.directory.parent if self._wrapper.owner is None else "/",
            timeout=INIT_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip().splitlines()[-8:]
            raise StackError(f"{Path(command[0]).name} failed in {self.directory.parent}:\n" + "\n".join(words))


LOCK_FILE = "postmaster.pid"
CREATE_DATABASE = f"CREATE DATABASE {DATABASE}\n"


def database_url(port: int, password: str, user: str = USER, host: str = LOOPBACK) -> str:
    """Where the millstream database of a local Postgres is, for its owner or another user."""
    return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{host}:{port}/{DATABASE}"


@contextlib.contextmanager
def running_postgres(
    directory: Path,
    *,
    port: int | None = None,
    password: str | None = None,
    durable: bool = False,
    settings: Mapping[str, str] | None = None,
    wrapper: Wrapper | None = None,
) -> Iterator[PostgresServer]:
    """A started Postgres for the length of the block, on a free port unless one is given.

    Args:
        directory: the cluster; made where missing, kept afterwards.
        password: of the superuser; only a fresh cluster takes it (a random one by default).
        durable: survive a power cut too; a killed process loses nothing either way.
        settings: more server settings, such as `{"max_connections": "200"}`.
    """
    server = PostgresServer(
        directory,
        port or free_port(),
        password or secrets.token_urlsafe(16),
        settings={**({} if durable else NOT_DURABLE), **(settings or {})},
        wrapper=wrapper,
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()
