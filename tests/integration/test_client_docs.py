"""The snippets of docs/CLIENT.md, and those of docs/EXAMPLES.md that need a server, run against real services."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from typer.testing import CliRunner

from millstream_client.cli.program import app
from tests.examples import snippets
from tests.pipelines import Pipeline
from tests.processes import REPOSITORY, wait_until

TEXT = (REPOSITORY / "docs" / "CLIENT.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(
    r"^\$ millstream (.*)$", "\n".join(re.findall(r"^```console\n(.*?)^```", TEXT, re.DOTALL | re.M)), re.M
)


@pytest.fixture(autouse=True)
def place(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_URL", pipeline.url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text("id,text\n1,good\n2,bad\n", encoding="utf-8")


def test_the_snippets_run_one_after_the_other() -> None:
    assert len(SNIPPETS) >= 6
    names: dict[str, Any] = {"__name__": "snippets"}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/CLIENT.md", "exec"), names)
    assert (names["good"], names["bad"], names["tree"].result) == (500, 0, {"branches": 2})
    assert names["schema"]["input"]


def test_the_commands_do_what_they_say() -> None:
    assert len(COMMANDS) >= 10
    for command in COMMANDS:
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 0, f"millstream {command}\n{done.output}"
    assert Path("answers.csv").read_text().startswith("row,id,prediction_id,status,label")
    assert len(Path("answers.jsonl").read_text().splitlines()) == 2


def shell(heading: str, pipeline: Pipeline) -> str:
    """What the commands of an example print."""
    [commands] = snippets(heading, "sh")
    at_hand = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", commands.replace("localhost:8000", pipeline.url.removeprefix("http://"))],
        env=at_hand,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(heading: str, pipeline: Pipeline, number: int = 0) -> dict[str, Any]:
    """The names that an example in Python leaves."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(snippets(heading, "python")[number].replace("http://localhost:8000", pipeline.url), names)
    return names


def test_examples_in_a_shell(pipeline: Pipeline) -> None:
    assert shell("The label of a text", pipeline) == "POSITIVE\n"
    followed = shell("Follow a prediction", pipeline)
    assert followed.startswith("event: ") and '"label":"POSITIVE"' in followed.split("event: result\n")[1]
    assert shell("Score a file", pipeline).splitlines()[-1] == "Counter({'POSITIVE': 2})"


def test_examples_in_python(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    python("Without a package", pipeline)
    assert capsys.readouterr().out.startswith("200 {'label': 'POSITIVE'")
    names = python("An answer in time, or none", pipeline)
    with names["client"]:
        assert capsys.readouterr().out.startswith("{'label': 'POSITIVE'")
        assert names["answer_within"](0.2, "echo", "slow") is None


def test_an_example_finds_a_run_by_its_tag(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    heading = "A nightly run, found again by its tag"
    python(heading, pipeline)

    def collected() -> bool:
        python(heading, pipeline, 1)
        return capsys.readouterr().out == "Counter({'POSITIVE': 2})\n"

    wait_until(collected, "both are in the history")


async def test_an_example_of_a_web_service(pipeline: Pipeline) -> None:
    async with TestClient(TestServer(python("In a web service", pipeline)["app"])) as client:
        answer, refused = [await client.post("/reviews", data=text) for text in ("This is great!", "")]
        assert (await answer.json())["label"] == "POSITIVE"
        assert refused.status == 422


def test_an_example_of_an_experiment(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    python("Two versions in an experiment", pipeline)
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [each[0] for each in told] == ["current", "candidate"] and sum(int(each[1]) for each in told) <= 3
