"""Trying a model without a stack: the command, and what users' tests load models with."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference_worker import check
from inference_worker.artifact_store.cache import Cache
from inference_worker.artifact_store.trying import Telling
from inference_worker.testing import Failed, Model, load
from shared.contract.errors import ConfigurationError
from tests.buckets import Bucket, serving

OWN = """
from pydantic import BaseModel

class Own:
    class Input(BaseModel):
        n: int
        model_config = {"json_schema_extra": {"examples": [{"n": 3}]}}

    def predict(self, inputs, options):
        return [{"n": each.n * of.get("times", 1), "of": len(inputs) if each.n == 7 else 0} for each, of in
                zip(inputs, options)]
"""
WITH_TEXT = """
from pydantic import BaseModel

class Text(BaseModel):
    text: str
    language: str = "en"
    parts: "list[Text]" = []

class Own:
    class Input(BaseModel):
        text: str
        language: str = "en"

    def predict(self, inputs):
        return [{"text": each.text, "language": each.language} for each in inputs]

class Nested(Own):
    Input = Text
"""
SECOND = """
class Own:
    def predict(self, inputs):
        if len(inputs) == 1:
            return [{"score": [0.5]}]
        return [{"score": [0.5 + CHANGE * (place == 5)]} for place in range(len(inputs))]
"""
FROM_FILES = """
from pathlib import Path

class Words:
    sample = "a"

    def __init__(self, artifact):
        self._words = Path(artifact, "words.txt").read_text().split()

    def predict(self, inputs):
        return [{"known": each in self._words} for each in inputs]
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    file = tmp_path / "own.py"
    file.write_text(OWN, encoding="utf-8")
    return f"{file}:Own"


def test_a_model_is_loaded_as_by_a_worker(own: str) -> None:
    model = load(own)
    assert model.predict([{"n": 1}, {"n": 2}], times=5) == [{"n": 5, "of": 0}, {"n": 10, "of": 0}]
    assert model.predict_sample() == [{"n": 3, "of": 0}]
    with pytest.raises(Failed, match="input 1: invalid_input at input.n: Input should be a valid integer"):
        model.predict([{"n": 1}, {"n": "x"}])


def test_a_class_is_looked_for_beside_the_catalogue(own: str, tmp_path: Path) -> None:
    assert load("own.py:Own", folder=str(tmp_path)).sample == {"n": 3}
    with pytest.raises(ConfigurationError, match="there is no file"):
        load("own.py:Own")


def test_what_is_seen_is_told(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([own]) == 0
    seen = dict(line.strip().split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert list(seen) == ["loaded", "declares", "input", "result", "bytes", "alone", "8 together"]
    assert (seen["declares"], seen["input"], seen["result"]) == ("input", '{"n":3}', '{"n":3,"of":0}')


def test_another_answer_in_a_batch_is_told(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([own, '--input={"n": 7}']) == 1
    assert 'differs  in a batch it answers {"n":7,"of":8}' in capsys.readouterr().out


def test_an_object_with_nothing_but_a_text_is_what_was_declared(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(WITH_TEXT, encoding="utf-8")
    for name in ("Own", "Nested"):
        model = load(f"{file}:{name}")
        for given in ({"text": "a"}, "a", {"text": "a", "language": "en"}):
            assert model.predict([given]) == [{"text": "a", "language": "en"}]
        with pytest.raises(Failed, match="invalid_input at input.language"):
            model.predict([{"text": "a", "language": 1}])


@pytest.mark.parametrize(("change", "code"), [("1e-7", 0), ("1e-3", 1)])
def test_each_of_a_batch_is_compared_but_for_rounding(change: str, code: int, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(SECOND.replace("CHANGE", change), encoding="utf-8")
    assert check.main([f"{file}:Own", "--input=1"]) == code


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (['--input={"n": "x"}'], "FAILED  input 0: invalid_input at input.n"),
        (["nowhere.py:Own"], "FAILED  there is no file"),
    ],
)
def test_what_is_wrong_is_told_with_exit_code_1(
    own: str, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    given = arguments if not arguments[0].startswith("-") else [own, *arguments]
    assert check.main(given) == 1
    assert told in capsys.readouterr().err


def test_a_model_without_a_sample_is_said_not_to_be_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text("class Own:\n    def predict(self, inputs): return inputs", encoding="utf-8")
    assert check.main([f"{tmp_path}/own.py:Own"]) == 0
    assert "not tried" in capsys.readouterr().out


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Bucket]:
    """A bucket that the environment names."""
    async with serving() as made:
        for name, value in (made.settings | {"ARTIFACT_CACHE": str(tmp_path / "cache")}).items():
            monkeypatch.setenv(name, value)
        yield made


async def test_an_artifact_of_a_bucket_is_fetched_and_how_far_it_is_is_told(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = bucket.put_files({"words.txt": b"a b", "more.bin": b"0" * 1_200_000}, "words")
    (tmp_path / "words.py").write_text(FROM_FILES, encoding="utf-8")
    task = f"{tmp_path / 'words.py'}:Words"
    arguments = [task, f"--artifact={address}"]
    assert await asyncio.to_thread(check.main, arguments) == 0
    said = capsys.readouterr()
    assert "  fetched  in " in said.out and '{"known":true}' in said.out, said.out
    told = [line for line in said.err.splitlines() if line.startswith("fetching s3://models/words: ")]
    assert told[0].endswith(" 0.0 of 1.2 MB") and told[-1].endswith(" 1.2 of 1.2 MB"), said.err
    entry = Cache(tmp_path / "cache", 1).entry(f"{address[-64:]}-all")

    async def in_a_loop() -> Model:
        return load(task, address)

    def held_while_it_is_used() -> bool:
        model = asyncio.run(in_a_loop())
        assert model.predict(["b", "c"]) == [{"known": True}, {"known": False}]
        return not entry.remove()

    assert await asyncio.to_thread(held_while_it_is_used)
    assert capsys.readouterr().err == "", "it is there already"
    gc.collect()
    assert entry.remove()
    del bucket.objects["words/words.txt"]
    assert await asyncio.to_thread(check.main, arguments) == 1
    assert "there is no 'words/words.txt' in bucket 'models'" in capsys.readouterr().err


def test_it_is_told_at_first_now_and_then_and_at_the_end() -> None:
    lines, now = list[str](), [0.0]
    told = Telling("s3://models/a", lines.append, lambda: now[0])
    for second, there in ((0, 0), (1, 1), (2, 2), (2.5, 3), (3, 4_000_000)):
        now[0] = second
        told(there * 1_000_000 if there < 10 else there, 4_000_000)
    assert [line.rpartition(": ")[2] for line in lines] == ["0.0 of 4.0 MB", "2.0 of 4.0 MB", "4.0 of 4.0 MB"]
