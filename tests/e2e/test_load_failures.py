"""One model of each kind that cannot be loaded, beside one that can: each is named with its reason, and once it is
repaired it serves, without a restart of the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from transformers import BertForSequenceClassification

from tests.e2e.conftest import Start
from tests.tiny_models import bert, save
from tests.waiting import eventually

GOOD = """
class Good:
    def predict(self, inputs):
        return [{"echo": each} for each in inputs]
"""
BROKEN = {
    "imports": (
        "import no_such_package" + GOOD,
        "ModuleNotFoundError: No module named 'no_such_package'",
    ),
    "sample": (
        GOOD + "\n    sample = 'a'\n    def predict(self, inputs):\n        raise ValueError('no weights')\n",
        "its sample fails: ValueError: no weights",
    ),
    "hangs": (
        GOOD + "\n    def __init__(self):\n        import threading\n        threading.Event().wait()\n",
        "was not loaded after 15 s (LOAD_TIMEOUT_S)",
    ),
    "killed": (GOOD + "\n    def __init__(self):\n        import os\n        os.kill(os.getpid(), 9)\n", "SIGKILL"),
    "missing": (None, "there is no file"),
}
ENTRY = """
[[models]]
name = "{name}"
task = "{task}"
description = "one of several"
[[models.versions]]
version = "1"
default = true
{more}
"""


def catalogue_in(folder: Path) -> str:
    """The catalogue, with the files that it names."""
    entries = [ENTRY.format(name="good", task="good.py:Good", more="")]
    (folder / "good.py").write_text(GOOD, encoding="utf-8")
    for name, (code, _) in BROKEN.items():
        entries.append(ENTRY.format(name=name, task=f"{name}.py:Good", more=""))
        if code is not None:
            (folder / f"{name}.py").write_text(code, encoding="utf-8")
    save(folder / "torn", BertForSequenceClassification(bert()))
    weights = folder / "torn" / "model.safetensors"
    weights.with_suffix(".whole").write_bytes(weights.read_bytes())
    weights.write_bytes(weights.read_bytes()[:1000])
    entries.append(ENTRY.format(name="torn", task="text-classification", more='artifact = "torn"\nprocesses = 1'))
    (folder / "models.toml").write_text("".join(entries), encoding="utf-8")
    return str(folder / "models.toml")


def repair(folder: Path) -> None:
    """What a person would do who has read why."""
    for name in BROKEN:
        (folder / f"{name}.py").write_text(GOOD, encoding="utf-8")
    weights = folder / "torn" / "model.safetensors"
    weights.with_suffix(".whole").rename(weights)


@pytest.mark.timeout(300)
async def test_each_is_named_with_its_reason_and_serves_once_it_is_repaired(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    settings: dict[str, Any] = {
        "MODEL_CATALOGUE": catalogue_in(folder),
        "HEARTBEAT_INTERVAL_S": "0.5",
        "LOAD_TIMEOUT_S": "15",
    }
    gateway = start("gateway", **settings)
    worker = start("inference_worker", **settings)
    process = worker.process.pid
    async with aiohttp.ClientSession(gateway.url) as session:

        async def answer_of(model: str) -> Any:
            body = {"model": model, "text": "fine"}
            async with session.post("/api/v1/predict", json=body, params={"wait": "30"}) as answer:
                return await answer.json()

        async def reason_of(model: str) -> str:
            async with session.get(f"/api/v1/models/{model}") as answer:
                (version,) = (await answer.json())["versions"]
                return version["load_error"] or ""

        async def all_are_named() -> bool:
            return all([bool(await reason_of(each)) for each in (*BROKEN, "torn")])

        await eventually(all_are_named, "each has its reason", 120)
        assert (await answer_of("good"))["result"] == {"echo": "fine"}
        reasons = {name: await reason_of(name) for name in (*BROKEN, "torn")}
        for name, (_, told) in BROKEN.items():
            assert told in reasons[name], reasons[name]
        assert "torn or cut short, so copy or fetch" in reasons["torn"], reasons["torn"]
        repair(folder)
        for name in BROKEN:
            assert (await answer_of(name))["result"] == {"echo": "fine"}, name
        assert (await answer_of("torn"))["status"] == "succeeded"

        async def none_is_named() -> bool:
            return not any([await reason_of(each) for each in (*BROKEN, "torn")])

        await eventually(none_is_named, "no reason is left", 30)
    assert worker.process.pid == process and worker.process.poll() is None
