"""What the hub answers, from a server that answers so: its own words reach whoever asks, with what to set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from huggingface_hub import constants

from inference_worker.tasks import hub
from inference_worker.tasks.loading import load_task
from shared.contract.errors import ConfigurationError


class Hub(BaseHTTPRequestHandler):
    """Answers every request by the name of the repository."""

    answers: ClassVar[dict[str, tuple[int, str, str]]] = {
        "absent": (401, "RepoNotFound", "Invalid username or password."),
        "gated": (403, "GatedRepo", "Access to model a/gated is restricted. Visit its page to ask for access."),
        "revision": (404, "RevisionNotFound", "Invalid rev id: nope"),
    }

    def do_GET(self) -> None:  # noqa: N802 - the name that the server calls
        """Answer, or break off."""
        name = next((name for name in self.answers if f"a/{name}" in self.path), None)
        if name is None:
            self.wfile.write(b"HTT")  # then the connection is closed
            return
        status, code, message = self.answers[name]
        self.send_response(status)
        for header, value in {"X-Error-Code": code, "X-Error-Message": message, "Content-Length": "0"}.items():
            self.send_header(header, value)
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("hf://a/absent", "Repository Not Found.*look at the spelling; if it is private, set HF_TOKEN.*is not set"),
        ("hf://a/gated", "gated.*ask for access on its page, then set HF_TOKEN"),
        ("hf://a/revision@nope", "has no such branch, tag or commit"),
        ("hf://a/broken", "cannot fetch hf://a/broken from the model hub: .*it is tried again"),
        ("hf://a/b/c", r"write hf://owner/name, or hf://owner/name@revision"),
    ],
)
@pytest.mark.usefixtures("endpoint")
def test_why_a_model_cannot_be_fetched(location: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_task("text-classification", location)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800


@pytest.mark.usefixtures("endpoint")
def test_offline_it_is_said_that_it_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigurationError, match="HF_HUB_OFFLINE is set, and it is not in the cache"):
        hub.fetch("hf://a/anything")
