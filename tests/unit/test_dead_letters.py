"""`make dead-letters`, `replay` and `delete-dead-letter`: what is asked, and what is told if it is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scripts import dead_letters
from scripts.stack.ports import free_port

PROBLEM = b'{"title": "Not found", "status": 404, "detail": "there is no dead letter 7-0"}'


class Gateway(ThreadingHTTPServer):
    """Notes each request and answers all with `status` and `body`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.status, self.body = 200, b'{"items":[]}'
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest's output is for failures."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """An HTTP server in this process."""
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "asked", "status", "body", "told"),
    [
        ([], "GET /api/v1/dead-letters", 200, b'{"items":[]}', '{"items":[]}\n'),
        (["replay", "7-0"], "POST /api/v1/dead-letters/7-0/replay", 202, b'{"attempt":1}', '{"attempt":1}\n'),
        (["delete", "7/0"], "DELETE /api/v1/dead-letters/7%2F0", 204, b"", "deleted 7/0\n"),
    ],
)
def test_what_is_asked_and_answered(
    gateway: Gateway,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    asked: str,
    status: int,
    body: bytes,
    told: str,
) -> None:
    gateway.status, gateway.body = status, body
    assert dead_letters.main([gateway.url, *arguments]) == 0
    assert gateway.asked == [asked]
    assert capsys.readouterr().out == told


@pytest.mark.parametrize(
    ("body", "why"),
    [(PROBLEM, "404: there is no dead letter 7-0\n"), (b"<html>", "404: Not Found\n"), (b"[]", "404: Not F")],
)
def test_a_refusal_is_told_in_words_and_fails(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], body: bytes, why: str
) -> None:
    gateway.status, gateway.body = 404, body
    assert dead_letters.main([gateway.url, "replay", "7-0"]) == 1
    assert why in capsys.readouterr().err


def test_nobody_there_is_told_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert dead_letters.main([f"http://127.0.0.1:{free_port()}"]) == 1
    assert "does not answer ([Errno 111] Connection refused): see make status" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["replay"], ["list", "7-0"]])
def test_an_id_goes_with_one_dead_letter(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        dead_letters.main(["http://127.0.0.1:1", *arguments])
