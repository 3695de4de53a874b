"""The snippets of docs/EXAMPLES.md that need no service run; none of the others is forgotten."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from standardwebhooks import Webhook

from inference_worker.testing import load
from shared.contract.catalogue import parse_catalogue
from tests.examples import ALONE, OTHER_CLIENTS, PIPELINE, examples, snippets


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_example_is_run_somewhere() -> None:
    assert sorted(examples()) == sorted((*PIPELINE, *OTHER_CLIENTS, *ALONE))
    assert {language for each in examples().values() for language, _ in each} == {"sh", "python", "toml"}


async def test_the_receiver_takes_what_is_signed(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "whsec_" + base64.b64encode(b"0" * 32).decode()
    Path("webhook-secret").write_text(f"{secret}\n", encoding="utf-8")
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(snippets("A receiver of callbacks", "python")[0], names)
    body, now = (
        '{"type":"prediction.succeeded","data":{"prediction_id":"p","result":{"label":"POSITIVE"}}}',
        datetime.now(UTC),
    )
    headers = {"webhook-id": "p.0", "webhook-timestamp": str(int(now.timestamp()))}
    signed = headers | {"webhook-signature": Webhook(secret).sign("p.0", now, body)}
    async with TestClient(TestServer(names["app"])) as client:
        statuses = [
            (await client.post("/millstream", data=body, headers=each)).status for each in (signed, signed, headers)
        ]
    assert statuses == [204, 204, 403]
    assert capsys.readouterr().out == "prediction.succeeded p {'label': 'POSITIVE'}\n"  # once


def test_ten_lines_are_a_model(tmp_path: Path) -> None:
    [code], [entry] = (snippets("A model of your own in ten lines", language) for language in ("python", "toml"))
    _write("my_models/words.py", code)
    [model] = parse_catalogue(entry).models
    assert load(model.task, folder=str(tmp_path)).predict(["one two", ""]) == [{"words": 2}, {"words": 0}]


def test_a_model_of_scikit_learn_is_trained_and_loaded(tmp_path: Path) -> None:
    [train, code], [entry] = (snippets("A model of scikit-learn", language) for language in ("python", "toml"))
    exec(train, {})
    _write("my_models/reviews.py", code)
    catalogue = parse_catalogue(entry, "models")
    [served] = catalogue.versions()
    reviews = load(served.task, catalogue.artifact_location(served.version), folder=str(tmp_path))
    good, bad = reviews.predict(["great", "awful"])
    assert (good["label"], bad["label"]) == ("good", "bad")
    assert sum(good["scores"].values()) == pytest.approx(1)


def _write(path: str, text: str) -> None:
    Path(path).parent.mkdir()
    Path(path).write_text(text, encoding="utf-8")
