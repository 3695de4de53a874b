"""Classes of the user's own: a few lines in a file anywhere, loaded and computed by a real child."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from inference_worker.children.wire import Answer, Failure, Prepared
from inference_worker.engine import ChildLimits, Engine
from inference_worker.placement import load_plan
from inference_worker.tasks.protocol import Item
from shared.contract.catalogue import parse_catalogue
from shared.contract.errors import ConfigurationError

Write = Callable[..., None]

IRIS = """
import numpy as np
from pydantic import BaseModel

class Iris:
    class Input(BaseModel):
        petals: list[float]
        model_config = {"json_schema_extra": {"examples": [{"petals": [1.5, 0.2]}]}}

    def predict(self, inputs):
        return [{"area": np.prod(each.petals), "petals": np.array(each.petals)} for each in inputs]
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(source: str, file: str = "my_models/own.py") -> None:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")

    return write


async def started(folder: Path, task: str = "my_models/own.py:Own", **version: Any) -> Engine:
    """The children of a model whose catalogue is in the folder."""
    about = "".join(f"{name} = {value!r}\n" for name, value in version.items())
    catalogue = parse_catalogue(
        f'[[models]]\nname = "own"\ntask = "{task}"\ndescription = "d"\n'
        f'[[models.versions]]\nversion = "1"\ndefault = true\n{about}',
        str(folder),
    )
    served = catalogue.resolve("own", None)
    assert served is not None
    plan, processes = load_plan(catalogue.artifact_location(served.version), served, 1, catalogue.directory)
    engine = Engine(plan, processes, ChildLimits(60, 60))
    await engine.start()
    return engine


async def answers(engine: Engine, *inputs: Any, **options: Any) -> list[Any]:
    """For each input its result, or the error."""
    try:
        encoded = await engine.encode([Item(each, options) for each in inputs])
        given = [each for each in encoded if not isinstance(each, Failure)]
        computed = iter(await engine.predict(given))  # type: ignore[arg-type]
        found = [each if isinstance(each, Failure) else next(computed) for each in encoded]
        return [orjson.loads(each.result) if isinstance(each, Answer) else each.error for each in found]  # type: ignore
    finally:
        engine.close()


async def test_a_class_with_predict_alone_is_enough(tmp_path: Path, write: Write) -> None:
    write(IRIS)
    engine = await started(tmp_path, "my_models/own.py:Iris")
    assert engine.schemas["input"]["properties"]["petals"]["items"] == {"type": "number"}
    assert engine.schemas["example"] == {"petals": [1.5, 0.2]}
    good, text, missing, wrong = await answers(
        engine, {"petals": [2.0, 3.0]}, "a text", {"sepals": 1}, {"petals": [1, "x"]}
    )
    assert good == {"area": 6.0, "petals": [2.0, 3.0]}
    assert text.startswith("invalid_input: Input should be a valid dictionary or instance of Input")
    assert missing == "invalid_input at input.petals: Field required"
    assert wrong.startswith("invalid_input at input.petals.1: Input should be a valid number")


RESULTS = """
import dataclasses, datetime, enum, uuid
import numpy as np
from pydantic import BaseModel

class Colour(enum.Enum):
    RED = "red"

class Nested(BaseModel):
    at: datetime.date

@dataclasses.dataclass
class Found:
    n: np.float32
    nested: Nested

class Own:
    def predict(self, inputs):
        made = {
            "numpy": {"a": np.int64(3), "b": np.float32(0.5), "c": np.zeros((2, 2)), "d": np.bool_(True)},
            "dataclass": Found(np.float32(0.25), Nested(at=datetime.date(2026, 1, 2))),
            "pydantic": Nested(at=datetime.date(2026, 1, 2)),
            "times": {"t": datetime.datetime(2026, 1, 2, 3), "u": uuid.UUID(int=1), "e": Colour.RED},
            "number": np.float64(1.5),
            "text": "x",
            "list": [1, 2],
            "array": np.arange(2),
            "nothing": None,
            "nan": {"a": float("nan")},
            "nested nan": Found(np.float32("nan"), Nested(at=datetime.date(2026, 1, 2))),
            "set": {"a": {1}},
        }
        return [made[each] for each in inputs]
"""


async def test_results_may_be_what_python_people_have(tmp_path: Path, write: Write) -> None:
    write(RESULTS)
    wanted = {
        "numpy": {"a": 3, "b": 0.5, "c": [[0.0, 0.0], [0.0, 0.0]], "d": True},
        "dataclass": {"n": 0.25, "nested": {"at": "2026-01-02"}},
        "pydantic": {"at": "2026-01-02"},
        "times": {"t": "2026-01-02T03:00:00", "u": "00000000-0000-0000-0000-000000000001", "e": "red"},
        "number": {"value": 1.5},
        "text": {"value": "x"},
        "list": {"value": [1, 2]},
        "array": {"value": [0, 1]},
        "nothing": {"value": None},
    }
    *found, nan, nested, of_set = await answers(await started(tmp_path), *wanted, "nan", "nested nan", "set")
    assert found == list(wanted.values())
    assert "not finite" in nan and "not finite" in nested and "not JSON serializable: set" in of_set


OTHERS = """
from neighbour import SHOUT
from inference_worker.tasks.protocol import InvalidInput

class Own:
    labels = ["A", "B"]
    sample = "hello"

    def __init__(self, location, dtype):
        self.about = [location, dtype]

    def predict(self, inputs, options):
        for each in inputs:
            if each == "bad":
                raise InvalidInput("is not wanted")
            if isinstance(each, dict) and each["n"] < 0:
                raise InvalidInput("must be positive", "n")
        return [{"about": self.about, "said": SHOUT, "options": dict(of)} for of in options]
"""


async def test_a_class_may_have_neighbours_arguments_options_and_refuse(tmp_path: Path, write: Write) -> None:
    write(OTHERS)
    write("SHOUT = 'HEY'", "my_models/neighbour.py")
    engine = await started(tmp_path, artifact="here", dtype="bfloat16")
    assert (engine.labels, engine.schemas["example"]) == (("A", "B"), "hello")
    good, bad, negative = await answers(engine, "fine", "bad", {"n": -1}, k=1)
    assert good == {"about": [str(tmp_path / "here"), "bfloat16"], "said": "HEY", "options": {"k": 1}}
    assert (bad, negative) == (
        "invalid_input: is not wanted",
        "invalid_input at input.n: must be positive",
    )


DECLARING = """
from pydantic import BaseModel, Field

class Own:
    class Options(BaseModel):
        k: int = Field(1, ge=1, le=3)

    class Output(BaseModel):
        n: int

    sample = "x"

    def predict(self, inputs, options):
        return [{"n": "many" if each == "wrong" else of.k} for each, of in zip(inputs, options)]
"""


async def test_options_and_results_are_what_is_declared(tmp_path: Path, write: Write) -> None:
    write(DECLARING)
    engine = await started(tmp_path)
    assert set(engine.schemas) == {"options", "output", "example"}
    one, wrong = await answers(engine, "x", "wrong", k=3)
    assert one == {"n": 3} and "the result is no Output: n: Input should be a valid integer" in wrong
    [refused] = await answers(await started(tmp_path), "x", k=9)
    assert refused == "invalid_input at options.k: Input should be less than or equal to 3"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import not_there", r"No module named 'not_there' \(.*own.py, line 1\); a package that it needs belongs into"),
        ("x = 1\nx.y", r"AttributeError: 'int' object has no attribute 'y' \(.*own.py, line 2\)"),
        ("class Other: ...", "has no class 'Own'; it has: Other"),
        ("class Own: ...", r"is not a task: it needs a method predict\(self, inputs\)"),
        ("class Own:\n  def __init__(self): raise OSError('no weights')\n  def predict(self, i): ...", "no weights"),
        (
            "class Own:\n  sample = 'x'\n  def predict(self, i): return 'x'",
            "its sample fails: .*returned a str, not a list",
        ),
        ("class Own:\n  sample = 'x'\n  def predict(self, i): return []", "0 outputs for 1 inputs"),
        (
            "class Own:\n  sample = 'x'\n  def predict(self, i): return [{1, 2}]",
            "its sample fails: .*not JSON serializable: set",
        ),
        ("class Own:\n  Input = 'x'\n  def predict(self, i): ...", "`Input` of the task is no type"),
    ],
)
async def test_what_is_wrong_with_a_class_is_told_when_it_is_loaded(
    tmp_path: Path, write: Write, source: str, told: str
) -> None:
    write(source)
    with pytest.raises(ConfigurationError, match=f"(?s){told}"):
        await started(tmp_path)


async def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no file {tmp_path}/my_models/own.py or .*my_models/own.py"):
        await started(tmp_path)


async def test_a_schema_that_is_too_large_is_not_shown(tmp_path: Path, write: Write) -> None:
    names = ", ".join(f'"a{i}"' for i in range(5000))
    write(f"from typing import Literal\nclass Own:\n  Input = Literal[{names}]\n  def predict(self, i): return i")
    engine = await started(tmp_path)
    assert engine.schemas == {}
    assert await answers(engine, "a7") == [{"value": "a7"}]


PATIENT = """
import time

class Own:
    def predict(self, inputs, progress):
        progress(0, 0.1)  # too soon to be worth telling
        time.sleep(0.3)
        for index, each in enumerate(inputs):
            progress(index, 0.5 if each else 7, text="x" * 20_000 + str(each))
            progress(index, 0.6)  # sooner after the last one than anybody wants to know
        if len(inputs) > 1 and not all(inputs):
            raise ValueError("each is tried alone")
        return inputs
"""


async def test_a_class_may_say_how_far_it_is(tmp_path: Path, write: Write) -> None:
    write(PATIENT)
    engine = await started(tmp_path)
    told: list[tuple[object, float | None, str, int]] = []
    engine.on_progress = lambda item, each: told.append((item, each.share, (each.text or "")[-2:], each.start))
    encoded = [each for each in await engine.encode([Item(1), Item(2)]) if isinstance(each, Prepared)]
    try:
        assert len(await engine.predict(encoded)) == 2
        assert told == [(encoded[0], 0.5, "x1", 20_001 - 16_384), (encoded[1], 0.5, "x2", 20_001 - 16_384)]
        told.clear()
        [zero] = [each for each in await engine.encode([Item(0)]) if isinstance(each, Prepared)]
        assert (
            len(await engine.predict([encoded[0], zero])) == 2
        )  # of a part of the batch it is told by its place in it
        assert {each[0] for each in told} == {encoded[0], zero} and (zero, 1.0, "x0", 20_001 - 16_384) in told
    finally:
        engine.close()


STOPPABLE = """
import time

class Own:
    def predict(self, inputs, progress):
        left = set(range(len(inputs)))
        until = time.monotonic() + 60
        progress(0, 0.1)
        time.sleep(0.3)
        for index in left:
            progress(index, 0.5)
        while left and time.monotonic() < until:
            left -= {index for index in left if progress.stopped(index) or inputs[index] == 0}
            time.sleep(0.01)
        return [index in left for index in range(len(inputs))]
"""


async def test_what_is_cancelled_is_left_as_it_is_by_a_class_that_can(tmp_path: Path, write: Write) -> None:
    write(STOPPABLE)
    engine = await started(tmp_path)
    began = asyncio.Event()
    engine.on_progress = lambda *_: began.set()
    try:
        items = [each for each in await engine.encode([Item(0), Item(1), Item(2)]) if isinstance(each, Prepared)]
        computing = asyncio.create_task(engine.predict(items))
        await asyncio.wait_for(began.wait(), 20)
        for each in (items[1], items[2], items[2]._replace()):  # the last is none of the batch
            engine.stop(each)
        assert len(await asyncio.wait_for(computing, 20)) == 3
        engine.stop(items[1])  # too late: it is computed no more
        [zero] = [each for each in await engine.encode([Item(0)]) if isinstance(each, Prepared)]
        assert len(await asyncio.wait_for(engine.predict([zero]), 20)) == 1
    finally:
        engine.close()


async def test_who_is_told_too_late_to_stop_goes_on_with_the_next_batch(tmp_path: Path, write: Write) -> None:
    write("import time\nclass Own:\n  def predict(self, inputs): time.sleep(0.5); return inputs")
    engine = await started(tmp_path)
    try:
        items = [each for each in await engine.encode([Item(1), Item(2)]) if isinstance(each, Prepared)]
        computing = asyncio.create_task(engine.predict(items))
        await asyncio.sleep(0.2)
        engine.stop(items[0])  # its class never asks
        assert len(await asyncio.wait_for(computing, 20)) == 2
        assert len(await asyncio.wait_for(engine.predict(items), 20)) == 2
    finally:
        engine.close()
