"""The smoke test passes on what is right and fails on each thing that is wrong."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
import uuid
from email.message import Message
from typing import Any

import pytest

from scripts import smoke
from scripts.smoke import Deployment, Wrong, main

Answer = tuple[int, dict[str, Any]]
ID = str(uuid.UUID(int=7))
DONE = {"prediction_id": ID, "status": "succeeded"}
MODELS = [
    {"name": "mood", "task": "text-classification", "versions": [{"version": "1", "is_active": True}]},
    {"name": "topic", "task": "zero-shot-classification", "versions": [{"version": "1", "is_active": True}]},
    {"name": "old", "task": "text-classification", "versions": [{"version": "1", "is_active": False}]},
    {"name": "own", "task": "my.module:Task", "versions": [{"version": "1", "is_active": True}]},
    {"name": "rank", "task": "text-ranking", "versions": [{"version": "1", "is_active": True}]},
]
EXAMPLES = {"rank": {"schemas": {"example": {"query": "a", "documents": ["b"]}}}}


def good(path: str, body: dict[str, Any] | None) -> Answer:
    """What a deployment that is well answers."""
    if path == "/health":
        return 200, {"status": "degraded", "postgres": "ok", "unserved": ["mood:1"]}
    if path == "/api/v1/models":
        return 200, {"items": MODELS}
    if path.startswith("/api/v1/models/"):
        return 200, {"versions": [{"version": "1", **EXAMPLES.get(path.rpartition("/")[2], {})}]}
    if path == "/api/v1/predictions":
        return 200, {"items": [DONE]}
    if body is not None and body["model"] == "nope":
        return 404, {"detail": "there is no model 'nope'"}
    if body is not None and (body["model"] == "rank") != ("input" in body):
        return 422, {"errors": [{"loc": "text"}]}
    if body is not None and (body["model"] == "topic") != ("options" in body):
        return 422, {"errors": [{"loc": "options"}]}
    return 200, DONE


class Fake:
    """A deployment that is well except for one path or model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bad: dict[str, Answer] = {}
        self.asked: list[str] = []
        monkeypatch.setattr(Deployment, "call", self._call)
        monkeypatch.setattr(smoke, "PAUSE_S", 0.0)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        plain = path.partition("?")[0]
        if body is not None:
            self.asked.append(body["model"])
        for key in (plain, (body or {}).get("model")):
            if key in self.bad:
                return self.bad[key]
        return good(plain, body)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The deployment under test."""
    return Fake(monkeypatch)


def test_a_good_deployment_passes_and_every_active_version_is_asked(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["http://gateway"]) == 0
    assert fake.asked == ["mood", "topic", "nope"]
    assert capsys.readouterr().out.count("ok: ") == 3


@pytest.mark.parametrize("model", ["own", "rank"])
def test_one_version_can_be_named_whatever_its_task(fake: Fake, model: str) -> None:
    assert main(["http://gateway", "--model", f"{model}:1"]) == 0
    assert fake.asked == [model, "nope"]


@pytest.mark.parametrize(
    ("where", "answer"),
    [
        ("/health", (503, {"status": "unavailable", "postgres": "ok"})),
        ("/health", (200, {"status": "degraded", "postgres": "unavailable"})),
        ("/api/v1/models", (503, {"detail": "later"})),
        ("/api/v1/models", (200, {"items": []})),
        ("mood", (500, {"prediction_id": ID, "detail": "the model failed"})),
        ("mood", (422, {"detail": "no"})),
        ("mood", (503, {"detail": "overloaded"})),
        ("topic", (200, {**DONE, "status": "failed"})),
        ("/api/v1/predictions", (200, {"items": []})),
        ("/api/v1/predictions", (503, {"items": []})),
        ("nope", (200, DONE)),
        ("nope", (404, {"detail": "no"})),
    ],
)
def test_a_known_bad_deployment_fails(
    fake: Fake, capsys: pytest.CaptureFixture[str], where: str, answer: Answer
) -> None:
    fake.bad[where] = answer
    assert main(["http://gateway", "--patience", "0"]) == 1
    assert "smoke test of http://gateway failed" in capsys.readouterr().err


def test_a_prediction_that_stays_queued_fails(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    queued = {"prediction_id": ID, "status": "queued"}
    fake.bad |= {"mood": (202, queued), f"/api/v1/predictions/{ID}": (200, queued)}
    assert main(["http://gateway", "--patience", "0"]) == 1
    assert "mood:1 should succeed" in capsys.readouterr().err


def test_a_version_that_nobody_knows_fails(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["http://gateway", "--model", "mood:9"]) == 1
    assert "mood:9 is not served" in capsys.readouterr().err


class Opened(io.BytesIO):
    """An answer as urllib has it."""

    status = 200


def test_an_answer_is_its_status_and_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[urllib.request.Request] = []

    def urlopen(request: urllib.request.Request, timeout: float) -> Opened:
        sent.append(request)
        return Opened(b'{"a": 1}')

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert Deployment("http://gateway/", 1).call("POST", "/x", {"b": 2}) == (200, {"a": 1})
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
        assert Deployment("http://gateway", 1).call("GET", "/x") == answer
    else:
        with pytest.raises(Wrong):
            Deployment("http://gateway", 1).call("GET", "/x")


def test_who_is_asked_for_a_token_is_told_and_may_be_content_with_that(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILLSTREAM_TOKEN", raising=False)
    fake.bad["/api/v1/models"] = (401, {"detail": "who are you"})
    assert main(["http://gateway"]) == 1
    assert "who are you): set MILLSTREAM_TOKEN" in capsys.readouterr().err
    assert main(["http://gateway", "--or-asks"]) == 0
    monkeypatch.setenv("MILLSTREAM_TOKEN", "a token that is no good")
    assert main(["http://gateway", "--or-asks"]) == 1
