"""The smoke test passes on what is right and fails on each thing that is wrong."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from email.message import Message
from typing import Any

import pytest

from scripts import smoke
from scripts.smoke import ARTICLE, Deployment, Wrong, main

Answer = tuple[int, dict[str, Any]]
STORED = {"prediction_id": "id-1", "result": {"label": "POSITIVE"}, "confidence": 0.9}


def good(method: str, path: str, body: dict[str, Any] | None) -> Answer:
    """What a deployment that is well answers."""
    if path == "/health":
        return 200, {"status": "ok", "unserved": []}
    if path.startswith("/api/v1/predictions?"):
        return 200, {"items": [STORED]}
    if path.startswith("/api/v1/predictions/"):
        return 200, {**STORED, "input": {"text": "Kept for good."}}
    assert body is not None
    if body["model"] == "nope":
        return 404, {"detail": "there is no model 'nope'"}
    if not body["text"]:
        return 422, {"errors": [{"loc": "text"}]}
    return 200, {**STORED, "result": result_of(body)}


def result_of(body: dict[str, Any]) -> dict[str, Any]:
    """The right result of a prediction."""
    text = body["text"]
    if body["model"] == "embeddings":
        return {"embedding": [1.0, *[0.0] * 383] if "cat" in text or "kitten" in text else [0.0, 1.0, *[0.0] * 382]}
    if body["model"] == "text-summarization":
        return {"summary": ARTICLE.split(". ")[1] + "."}
    if body["model"] == "zero-shot-classification":
        return {"label": "sport"}
    return {"label": "NEGATIVE" if "waste" in text else "POSITIVE"}


class Fake:
    """A deployment that is well but for one path or model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bad: dict[str, Answer] = {}
        monkeypatch.setattr(Deployment, "call", self._call)
        monkeypatch.setattr(smoke, "STORED_WITHIN_S", 0.0)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        for key in (path.partition("?")[0], (body or {}).get("model"), (body or {}).get("text")):
            if key in self.bad:
                return self.bad[key]
        return good(method, path, body)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The deployment under test."""
    return Fake(monkeypatch)


def test_a_good_deployment_passes(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://gateway"]) == 0
    assert capsys.readouterr().out.count("ok  ") == 1 + len(smoke.CHECKS)


@pytest.mark.parametrize(
    ("where", "answer"),
    [
        ("/health", (503, {"status": "unavailable", "unserved": []})),
        ("/health", (200, {"status": "ok", "unserved": ["embeddings:1.0.0"]})),
        ("sentiment-analysis", (202, {"status": "queued"})),
        ("This is great!", (200, {**STORED, "confidence": 0.5})),
        ("A dull, lifeless waste of two hours.", (200, STORED)),
        ("zero-shot-classification", (200, {"result": {"label": "cooking"}})),
        ("embeddings", (200, {"result": {"embedding": [1.0] * 384}})),
        ("text-summarization", (200, {"result": {"summary": ARTICLE}})),
        ("/api/v1/predictions/id-1", (404, {"detail": "no such prediction"})),
        ("/api/v1/predictions", (200, {"items": []})),
        ("nope", (200, STORED)),
        ("", (500, {"detail": "oh"})),
    ],
)
def test_a_known_bad_deployment_fails(
    fake: Fake, capsys: pytest.CaptureFixture[str], where: str, answer: Answer
) -> None:
    fake.bad[where] = answer
    assert main(["http://gateway", "--patience", "0"]) == 1
    assert "smoke test of http://gateway failed" in capsys.readouterr().err


class Opened(io.BytesIO):
    """An answer as urllib has it."""

    status = 200


def test_an_answer_is_its_status_and_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[urllib.request.Request] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> Opened:
        sent.append(request)
        return Opened(b'{"a": 1}')

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert Deployment("http://gateway/").call("POST", "/x", {"b": 2}) == (200, {"a": 1})
    assert isinstance(sent[0].data, bytes)
    assert (sent[0].full_url, json.loads(sent[0].data)) == ("http://gateway/x", {"b": 2})


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (urllib.error.HTTPError("u", 404, "", Message(), io.BytesIO(b'{"detail": "no"}')), (404, {"detail": "no"})),
        (urllib.error.HTTPError("u", 502, "", Message(), io.BytesIO(b"<html>")), None),
        (ConnectionRefusedError("refused"), None),
    ],
)
def test_what_is_no_answer_is_wrong(monkeypatch: pytest.MonkeyPatch, error: Exception, answer: Answer | None) -> None:
    def urlopen(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    if answer:
        assert Deployment("http://gateway").call("GET", "/x") == answer
    else:
        with pytest.raises(Wrong):
            Deployment("http://gateway").call("GET", "/x")
