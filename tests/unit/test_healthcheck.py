"""The health check of containers, as docker runs it: a program with an environment and an exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts.stack.ports import free_port
from shared.service.healthcheck import main

PROGRAM = Path(__file__).resolve().parents[2] / "shared" / "service" / "healthcheck.py"


@contextmanager
def service(status: int) -> Iterator[int]:
    """A service whose /readyz answers with a status; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(b"loading models")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_ready_service_is_healthy_on_the_port_that_is_set() -> None:
    with service(200) as port:
        command = [sys.executable, "-I", "-S", str(PROGRAM), "GATEWAY_PORT", "1"]
        assert subprocess.run(command, env={"GATEWAY_PORT": str(port)}, check=False).returncode == 0


def test_an_empty_port_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "")
    with service(200) as port:
        assert main(["GATEWAY_PORT", str(port)]) == 0


def test_a_service_that_is_not_ready_is_not_healthy_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with service(503) as port:
        assert main(["NO_SUCH_VARIABLE", str(port)]) == 1
    assert capsys.readouterr().out == "503: loading models\n"


def test_nobody_there_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert main(["NO_SUCH_VARIABLE", str(port)]) == 1
    assert f"port {port} does not answer" in capsys.readouterr().out
