"""A service's log file: every line prefixed with the service's name, the file bounded in size."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 5 * 2**20
LONGEST_LINE = 64 * 2**10
NAME_WIDTH = 20
STARTING = "starting"


class ServiceLog:
    """Lines of one service into `<name>.log`; at `max_bytes` it becomes `<name>.log.1` and a new one is begun."""

    def __init__(self, folder: Path, name: str, max_bytes: int = MAX_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.log"
        self._prefix = f"{name:<{NAME_WIDTH}} | ".encode()
        self._max_bytes = max_bytes
        self._rest = b""
        self._file = self.path.open("ab")

    def feed(self, data: bytes) -> None:
        """Take what the service wrote; a line is written when it is complete, or too long to wait for its end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._write(line)
        if len(self._rest) > LONGEST_LINE:
            self.finish_line()
        self._file.flush()

    def finish_line(self) -> None:
        """Write what has no line end yet: the service is gone."""
        if self._rest:
            self._write(self._rest)
            self._rest = b""
            self._file.flush()

    def note(self, text: str) -> None:
        """A line of the supervisor's own."""
        self.finish_line()
        self._write(f"[supervisor] {text}".encode())
        self._file.flush()

    def close(self) -> None:
        self.finish_line()
        self._file.close()

    def _write(self, line: bytes) -> None:
        shown = line.rstrip(b"\r").rpartition(b"\r")[2]  # of a progress bar, what it shows in the end
        self._file.write(self._prefix + shown + b"\n")
        if self._file.tell() >= self._max_bytes:
            self._file.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            self._file = self.path.open("ab")


def lines_of_last_start(path: Path, count: int) -> list[str]:
    """The end of a log file, as far as it is about the service's last start."""
    lines = last_lines(path, count)
    starts = [index for index, line in enumerate(lines) if line.endswith(f"[supervisor] {STARTING}")]
    return lines[starts[-1] + 1 :] if starts else lines


def last_lines(path: Path, count: int) -> list[str]:
    """The end of a log file; nothing where there is none."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count * 2000))
        return file.read().decode("utf-8", errors="replace").splitlines()[-count:]
