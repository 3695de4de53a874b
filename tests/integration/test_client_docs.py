"""The snippets of docs/CLIENT.md run, against real services."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from millstream_client.cli.program import app
from tests.pipelines import Pipeline
from tests.processes import REPOSITORY

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
