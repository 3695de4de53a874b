"""A batch that fails is repeated item by item, so an error meets only the item that causes it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from inference_worker.engine import Engine
from inference_worker.outcomes import BadOutput
from inference_worker.tasks.protocol import Encoded, Item, Output


class Picky:
    """Fails on `bad` texts, in either step; drops an answer where a batch has `short`."""

    def __init__(self, sample: str = "fine") -> None:
        self.sample = Item(sample)
        self.batches: list[int] = []

    def encode(self, items: Sequence[Item]) -> Sequence[Encoded]:
        if any(item.text == "bad to encode" for item in items):
            raise ValueError("cannot encode")
        return [Encoded(1, item.text) for item in items]

    def predict(self, batch: Sequence[Encoded]) -> Sequence[Output]:
        self.batches.append(len(batch))
        texts = [each.data for each in batch]
        if "bad to predict" in texts:
            raise RuntimeError("cannot predict")
        outputs = [Output({"text": text}) for text in texts]
        return outputs[:-1] if "short" in texts else outputs


async def test_one_bad_item_fails_alone_in_either_step() -> None:
    task = Picky()
    engine = Engine(task, "picky")
    encoded = await engine.encode([Item("a"), Item("bad to encode"), Item("b")])
    assert isinstance(encoded[1], ValueError)
    good = [each for each in encoded if isinstance(each, Encoded)]
    assert [each.data for each in good] == ["a", "b"]
    outputs = await engine.predict([*good, Encoded(1, "bad to predict")])
    assert [each.result["text"] for each in outputs if isinstance(each, Output)] == ["a", "b"]
    assert isinstance(outputs[2], RuntimeError)
    assert task.batches == [3, 1, 1, 1]
    engine.close()


async def test_an_answer_of_the_wrong_length_is_not_guessed_at() -> None:
    engine = Engine(Picky(), "picky")
    outputs = await engine.predict([Encoded(1, "a"), Encoded(1, "short")])
    assert isinstance(outputs[0], Output)
    assert outputs[0].result == {"text": "a"}
    assert isinstance(outputs[1], BadOutput)
    engine.close()


@pytest.mark.parametrize("sample", ["bad to encode", "bad to predict"])
async def test_a_version_that_cannot_compute_its_sample_does_not_serve(sample: str) -> None:
    engine = Engine(Picky(sample), "picky")
    with pytest.raises((ValueError, RuntimeError), match="cannot"):
        await engine.warm_up()
    engine.close()


async def test_warming_up_runs_the_sample_through_both_steps() -> None:
    task = Picky()
    engine = Engine(task, "picky")
    await engine.warm_up()
    assert task.batches == [1, 1]
    engine.close()
