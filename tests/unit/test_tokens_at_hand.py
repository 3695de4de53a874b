"""`make token` and `make api-key`: what they send and make, and what is told if they cannot."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.control.signing_keys import read_hmac_key
from gateway.control.tokens import Rules, verified
from scripts import api_key, dead_letters, make_token
from scripts.stack import config as stack_config
from scripts.stack.config import StackConfig

SECRET = "0123456789abcdef" * 2
VALUES = {"JWT_SECRET": SECRET, "JWT_ISSUER": "http://localhost", "JWT_AUDIENCE": "millstream"}


def with_values(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    monkeypatch.setattr(stack_config, "load", lambda _: StackConfig(Path(), values, {}))


def test_a_token_is_one_that_the_gateway_accepts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_values(monkeypatch, VALUES)
    assert make_token.main(["predict read:all", "--subject", "ann"]) == 0
    rules = Rules("http://localhost", "millstream", 86_400, 0)
    claims = verified(capsys.readouterr().out.strip(), read_hmac_key(SECRET.encode()), rules)
    assert (claims["scope"], claims["sub"], claims["exp"] - claims["iat"]) == ("predict read:all", "ann", 3600)


def test_the_secret_may_be_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n", encoding="utf-8")
    with_values(monkeypatch, {**VALUES, "JWT_SECRET": "", "JWT_SECRET_FILE": str(path)})
    assert make_token.main([]) == 0
    rules = Rules("http://localhost", "millstream", 86_400, 0)
    assert verified(capsys.readouterr().out.strip(), read_hmac_key(SECRET.encode()), rules)["scope"] == "predict read"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**VALUES, "JWT_SECRET": ""}, "JWT_SECRET and JWT_SECRET_FILE are not set"),
        ({"JWT_SECRET": SECRET, "JWT_ISSUER": "a"}, "JWT_AUDIENCE must be set too"),
        ({**VALUES, "JWT_SECRET_FILE": "/nowhere"}, "JWT_SECRET_FILE=/nowhere cannot be read"),
    ],
)
def test_without_a_secret_it_says_what_to_do(
    values: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_values(monkeypatch, values)
    assert make_token.main([]) == 1
    assert said in capsys.readouterr().err


class Gateway(ThreadingHTTPServer):
    """Notes who asks for what; knows nobody."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        said = b'{"detail": "who are you"}' if self.headers.get("Authorization") is None else b'{"key": "msk_"}'
        self.send_response(401 if self.headers.get("Authorization") is None else 201)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest's output is for failures."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_key_is_asked_for_with_what_was_said(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLSTREAM_TOKEN", " secret\n")
    assert api_key.main([gateway.url, "batch", "--models", "a b*", "--tenant", "acme", "--days", "9"]) == 0
    ((path, who, body),) = gateway.asked
    assert (path, who) == ("/api/v1/api-keys", "Bearer secret") and capsys.readouterr().out == '{"key": "msk_"}\n'
    wanted = {"name": "batch", "scopes": ["predict", "read"], "models": ["a", "b*"], "tenant": "acme"}
    assert json.loads(body) == {**wanted, "expires_in_days": 9}


def test_who_is_not_known_is_told_what_to_do(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MILLSTREAM_TOKEN", raising=False)
    assert api_key.main([gateway.url, "batch"]) == 1
    assert dead_letters.main([gateway.url, "replay", "7-0"]) == 1
    said = capsys.readouterr().err
    assert said.count("who are you: set MILLSTREAM_TOKEN to a token (make token)") == 2
