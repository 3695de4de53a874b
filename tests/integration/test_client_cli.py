"""The command line against real services: what it prints, its exit codes, and files that are scored despite crashes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from millstream_client.cli.program import app
from scripts import make_token
from scripts.stack.ports import free_port
from tests.pipelines import Pipeline
from tests.processes import REPOSITORY, wait_until


@pytest.fixture
def run(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in this process; the answer has its exit code and what it printed."""
    monkeypatch.setenv("MILLSTREAM_URL", pipeline.url)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments, **more: CliRunner().invoke(app, [str(each) for each in arguments], **more)


def test_predict_prints_the_answer(run: Any) -> None:
    done: Result = run("predict", "echo", "abc")
    assert (done.exit_code, json.loads(done.stdout)["result"]) == (0, {"echo": "abc", "reversed": "cba"})


def test_predict_reads_the_standard_input_and_any_json(run: Any) -> None:
    assert json.loads(run("predict", "echo@1.0.0", "-", "--json", input="a b").stdout)["result"]["echo"] == "a b"
    done = run("predict", "trees", "--input", '{"length": 1, "branches": [{"length": 2}]}', "-o", "factor=3")
    assert json.loads(done.stdout)["result"] == {"branches": 3}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("predict", "echo", "raise"), 1, "this model cannot read 'raise'"),
        (("predict", "nope", "x"), 2, "404 Not found: there is no model 'nope'; there are: sentiment-analysis, echo"),
        (("predict", "sentiment-analysis", "x" * 2001), 2, "body.text: "),
        (("predict", "trees", "--input", "{"), 2, "--input is not JSON"),
        (("predict", "echo"), 2, "give either a text"),
        (("predict", "echo", "x", "--option", "y"), 2, "'y' is not NAME=VALUE"),
        (("show", "01a20d70-d5e6-7383-90ab-972da9b28bd4"), 2, "404 Not found"),
        (("models", "nope"), 2, "there is no model 'nope'"),
        (("dead-letters", "replay"), 2, "need the id of a dead letter"),
        (("models", "--url", "localhost:8000"), 2, "'localhost:8000' is no address of a server"),
        (("predict", "echo", "slow", "--wait", "0.05"), 3, "it goes on; look again: millstream show"),
    ],
)
def test_what_is_wrong_is_said_and_is_the_exit_code(run: Any, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr
    as_json = run(*arguments, "--json")
    assert as_json.exit_code == code and json.loads(as_json.stderr)["error"]["message"]


def test_a_server_that_is_away_is_named_with_what_to_do(run: Any) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("models", "--url", url, "--patience", "0")
    assert done.exit_code == 3
    assert f"{url}/api/v1/models" in done.stderr and "refused" in done.stderr and "make up" in done.stderr


def test_a_prediction_is_submitted_shown_listed_and_cannot_be_cancelled_after_its_end(run: Any) -> None:
    submitted = run("predict", "echo", "some text", "--wait", "0").stdout.strip()
    wait_until(lambda: json.loads(run("show", submitted).stdout)["status"] == "succeeded", "it is finished")
    wait_until(lambda: submitted in run("predictions", "--model", "echo").stdout, "it is stored")
    listed = run("predictions", "-n", "1", "--json").stdout.splitlines()
    assert len(listed) == 1 and "prediction_id" in json.loads(listed[0])
    assert run("cancel", submitted).exit_code == 2


def test_models_and_queues_are_shown(run: Any) -> None:
    assert "sentiment-analysis  1.1.0" in run("models").stdout
    assert json.loads(run("models", "--json").stdout)["items"][0]["name"] == "sentiment-analysis"
    assert "branches" in run("models", "trees").stdout  # its schema
    queues = json.loads(run("queues", "--json").stdout)["queues"]
    assert {(each["model"], each["version"]) for each in queues} >= {("echo", "1.0.0"), ("trees", "1.0.0")}
    assert "echo" in run("queues").stdout


def test_dead_letters_and_token(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(run("dead-letters", "--json").stdout) == {"items": []}
    assert run("dead-letters", "delete", "1764000000000-0").exit_code == 2
    checked = json.loads(run("token", "--json").stdout)
    assert checked == {"token": "none", "may": ["predict", "read", "admin"]}  # AUTH=off


def test_tags_find_a_prediction_again(run: Any) -> None:
    sent = json.loads(run("predict", "echo", "tagged", "--tag", "order=4711").stdout)["prediction_id"]

    def listed() -> str:
        return str(run("predictions", "--tag", "order:4711", "--json").stdout)

    wait_until(lambda: sent in listed(), "it is stored")
    assert [json.loads(line)["prediction_id"] for line in listed().splitlines()] == [sent]


def test_who_asks_is_asked_for_and_what_a_token_may_do_is_said(
    pipeline: Pipeline, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, now = "s" * 32, int(time.time())
    settings = {"JWT_SECRET": secret, "JWT_ISSUER": "https://issuer.test", "JWT_AUDIENCE": "millstream"}
    url = pipeline.start("gateway", ready=True, AUTH="required", **settings).url
    refused = run("predict", "echo", "x", "--url", url)
    assert refused.exit_code == 4 and "401" in refused.stderr and "set MILLSTREAM_TOKEN" in refused.stderr
    claims = make_token.claims_of(settings, "read", "someone", now, 600)
    file = tmp_path / "token"
    file.write_text(make_token.token(secret.encode(), claims))
    refused = run("predict", "echo", "x", "--url", url, "--token-file", file)
    assert refused.exit_code == 4 and "403" in refused.stderr
    checked = json.loads(run("token", "--json", "--url", url, "--token-file", file).stdout)
    assert (checked["sub"], checked["scope"], checked["may"]) == ("someone", "read", ["read"])
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    made = subprocess.run(
        [sys.executable, "-c", "from millstream_client.cli import main; main()", "token", "make", "predict read"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "client"},
        capture_output=True,
        text=True,
        check=True,
    )
    monkeypatch.setenv("MILLSTREAM_TOKEN", made.stdout.strip())
    assert run("predict", "echo", "x", "--url", url).exit_code == 0


def write_texts(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(json.dumps({"text": f"{path.stem} {number}", "name": f"n{number}"}) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stored(pipeline: Pipeline, beginning: str) -> int:
    with psycopg.connect(pipeline.database_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM predictions WHERE input_data->>'text' LIKE %s", (f"{beginning} %",)
        ).fetchone()
    assert found
    return int(found[0])


def start_scoring(pipeline: Pipeline, file: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """The command as a process of its own, which may be killed."""
    command = [sys.executable, "-c", "from millstream_client.cli import main; main()", "score", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "client"), "MILLSTREAM_URL": pipeline.url}
    return subprocess.Popen(
        [*command, "--model", "echo", "--out", str(out), "--keep", "name", "--batch-size", "16", *more],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


ROWS = int(os.environ.get("SCORE_ROWS", "1000"))


def test_a_file_that_is_interrupted_twice_has_each_row_once(pipeline: Pipeline, tmp_path: Path) -> None:
    file, out = tmp_path / "interrupted.jsonl", tmp_path / "out.jsonl"
    write_texts(file, ROWS)
    for way, part in ((signal.SIGINT, 0.2), (signal.SIGKILL, 0.6)):
        process = start_scoring(pipeline, file, out)
        size = part * ROWS * 150  # bytes, about: a line has 190
        wait_until(lambda: out.exists() and out.stat().st_size > size, "a part is written")  # noqa: B023
        process.send_signal(way)
        said = process.communicate(timeout=30)[1]
        assert process.returncode == (130 if way == signal.SIGINT else -signal.SIGKILL), said
        assert way != signal.SIGINT or "the same command goes on from there" in said
        with out.open("a", encoding="utf-8") as torn:
            torn.write('{"row": 99')
    process = start_scoring(pipeline, file, out, "--json")
    told = json.loads(process.communicate(timeout=100)[0])
    assert process.returncode == 0
    assert (told["rows"], told["succeeded"], told["not_succeeded"]) == (ROWS, ROWS, 0) and told["resumed_at"] > 0
    lines = read_lines(out)
    assert [each["row"] for each in lines] == list(range(1, ROWS + 1))
    assert [each["result"]["echo"] for each in lines] == [f"interrupted {number}" for number in range(ROWS)]
    assert [each["name"] for each in lines] == [f"n{number}" for number in range(ROWS)]
    assert len({each["prediction_id"] for each in lines}) == ROWS
    wait_until(lambda: stored(pipeline, "interrupted") >= ROWS, "all are stored")
    assert stored(pipeline, "interrupted") == ROWS


def test_what_was_done_is_not_done_again_and_another_file_is_refused(run: Any, tmp_path: Path) -> None:
    file, out = tmp_path / "twice.jsonl", tmp_path / "out.csv"
    write_texts(file, 70)
    command = ("score", file, "-m", "echo", "-O", out)
    assert run(*command).exit_code == 0
    before = out.read_bytes()
    again = run(*command)
    assert again.exit_code == 0 and "all before" in again.stderr and out.read_bytes() == before
    write_texts(file, 71)
    changed = run(*command)
    assert changed.exit_code == 2 and "the input file has changed" in changed.stderr
    assert "delete" in changed.stderr and out.read_bytes() == before


def test_rows_that_do_not_succeed_are_written_too(run: Any, tmp_path: Path) -> None:
    file, out = tmp_path / "mixed.csv", tmp_path / "out.jsonl"
    file.write_text('id,text\n1,good\n2,raise\n3,\n4,"two\nlines"\n', encoding="utf-8")
    done = run("score", file, "-m", "echo", "-O", out, "-k", "id")
    assert done.exit_code == 1 and "2 did not succeed" in done.stderr
    lines = read_lines(out)
    assert [each["status"] for each in lines] == ["succeeded", "failed", "refused", "succeeded"]
    assert lines[3]["result"]["echo"] == "two\nlines" and lines[3]["id"] == "4"


def test_parquet_with_several_columns(run: Any, tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file, out = tmp_path / "trees.parquet", tmp_path / "out.csv"
    branches = [[{"length": 1.0}], []]
    parquet.write_table(pyarrow.table({"length": [1.5, 2.5], "branches": branches}), file)
    done = run("score", file, "-m", "trees", "-O", out, "-c", "length", "-c", "branches", "-o", "factor=2")
    assert done.exit_code == 0, done.stderr
    assert out.read_text().splitlines()[0] == "row,prediction_id,status,label,confidence,result,error"
    assert '"{""branches"": 2}"' in out.read_text()


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ('{"text": "a"}\n{"txt": "b"}\n', (), "row 2: no column 'text'; there are: txt"),
        ('{"text": "a"}\n{"text":', (), "line 2: not JSON"),
        ('{"text": "a"}\n[1]\n', (), "line 2: not an object"),
        ('{"text": "a"}\n', ("-O", "out.parquet"), "must end with .jsonl or .csv"),
        ('{"text": "a"}\n', ("-k", "id"), "row 1: no column 'id'; there are: text"),
        ('{"text": "a", "row": 1}\n', ("-k", "row"), "the output has a column of this name"),
        ('{"text": "a"}\n', ("-m", "nope"), "there is no model 'nope'"),
        ('{"text": "a"}\n', ("-o", "x=1"), "body.options.x"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_before_anything_is_sent(
    run: Any, tmp_path: Path, content: str, arguments: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(content, encoding="utf-8")
    given = {"-m": "echo", "-O": str(tmp_path / "out.jsonl"), **dict(zip(arguments[::2], arguments[1::2], strict=True))}
    done = run("score", file, *[part for pair in given.items() for part in pair])
    assert done.exit_code == 2 and said in done.stderr.replace("\n", " ")
