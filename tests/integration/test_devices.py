"""Every built-in task on another device than the CPU: one that is pretended (see `tests.pretend_device`).

It shows that nothing is left on the CPU which the model needs, and that answers come back from there. That a real GPU
computes the same, and what it takes for it, was not tried.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inference_worker.children.answers import answering
from inference_worker.children.device_memory import DeviceMemory
from inference_worker.children.guard import run_step
from inference_worker.children.wire import Answer, Failure
from inference_worker.engine import ChildLimits, Engine
from inference_worker.placement import load_plan
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item, Task
from inference_worker.tasks.sentence_transformers import POOLINGS
from shared.contract.catalogue import GPU_TOKENS, parse_catalogue
from shared.contract.errors import ConfigurationError
from tests.hub_models import change_json
from tests.pretend_device import NAME, pretend_device
from tests.tiny_families import CORPUS, encoder, image_classifier, texts, translator, writer

SEQUENCE = "AutoModelForSequenceClassification"
LABELS = {"labels": ["news", "sport", "weather"]}
NLI = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}


def _pooled(directory: Path) -> str:
    """An embedder by all ways of pooling, and layers behind them."""
    location = encoder(directory, "bert", "AutoModel")
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Normalize", "3_Normalize")]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    (directory / "modules.json").write_text(str(modules).replace("'", '"'), encoding="utf-8")
    change_json(directory / "1_Pooling" / "config.json", pooling_mode=[*POOLINGS])
    change_json(directory / "2_Dense" / "config.json", in_features=32 * len(POOLINGS), out_features=8)
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(0)
    weights = {"linear.weight": torch.randn(8, 32 * len(POOLINGS), generator=random), "linear.bias": torch.ones(8)}
    save_file(weights, directory / "2_Dense" / "model.safetensors")
    return location


def _picture() -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


ASKED = {"question": "What is closed?", "context": " ".join(CORPUS * 2)}
TASKS: dict[str, tuple[str, Callable[[Path], str], list[Item]]] = {
    "text-classification": (
        "text-classification",
        lambda at: encoder(at, "roberta", SEQUENCE, num_labels=3),
        [*map(Item, texts()), Item(CORPUS[0], {"text_pair": CORPUS[1]})],
    ),
    "feature-extraction": ("feature-extraction", _pooled, [*map(Item, texts())]),
    "zero-shot by embeddings": ("zero-shot-classification", _pooled, [Item(each, LABELS) for each in CORPUS[:3]]),
    "zero-shot by entailment": (
        "zero-shot-classification",
        lambda at: encoder(at, "roberta", SEQUENCE, **NLI),
        [Item(each, LABELS) for each in CORPUS[:3]],
    ),
    "token-classification": (
        "token-classification",
        lambda at: encoder(at, "bert", "AutoModelForTokenClassification", id2label={0: "O", 1: "B-PER", 2: "I-PER"}),
        [*map(Item, texts())],
    ),
    "fill-mask": (
        "fill-mask",
        lambda at: encoder(at, "bert", "AutoModelForMaskedLM"),
        [Item("the [MASK] is [MASK]"), Item("a [MASK]", {"top_k": 2})],
    ),
    "text-ranking": (
        "text-ranking",
        lambda at: encoder(at, "modernbert", SEQUENCE, num_labels=1),
        [Item({"query": "bridge", "documents": list(CORPUS[:4])})],
    ),
    "question-answering": (
        "question-answering",
        lambda at: encoder(at, "bert", "AutoModelForQuestionAnswering"),
        [Item(ASKED, {"top_k": 3})],
    ),
    "translation": (
        "translation",
        lambda at: translator(at, "t5", num_beams=2, max_new_tokens=6),
        [Item(each, {"src_lang": "en", "tgt_lang": "de"}) for each in CORPUS[:2]],
    ),
    "text-generation": (
        "text-generation",
        lambda at: writer(at, "llama"),
        [
            Item(CORPUS[0], {"max_new_tokens": 5}),
            Item("The", {"max_new_tokens": 6, "temperature": 0.9, "seed": 3, "stop": ["x"]}),
        ],
    ),
    "summaries that are written": (
        "summarization",
        lambda at: writer(at, "gpt2"),
        [Item(each, {"max_length": 8}) for each in CORPUS[:2]],
    ),
    "summaries of sentences": ("summarization", _pooled, [Item(" ".join(CORPUS)), Item(CORPUS[0])]),
    "image-classification": (
        "image-classification",
        lambda at: image_classifier(at, "vit"),
        [Item(_picture()), Item(_picture(), {"top_k": 2})],
    ),
}


def results(task: Task, items: list[Item]) -> list[Any]:
    return [dict(output.result) for output in task.predict(task.encode(items))]


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_close(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_close, one, other))
    return bool(one == pytest.approx(other, abs=1e-5) if isinstance(one, float) else one == other)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_answers_from_a_device_as_it_does_on_the_cpu(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, make, items = TASKS[name]
    location = make(tmp_path)
    wanted = results(load_task(task, location, device="cpu"), items)
    with pretend_device(monkeypatch) as device:
        on_device = load_task(task, location, token_budget=GPU_TOKENS)
        weights, device.largest = device.largest, 0
        assert weights > 0, "the weights are not there"
        assert _close(results(on_device, items), wanted)
        assert device.largest > 0, "it was not computed there"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    location = encoder(tmp_path_factory.mktemp("bert"), "bert", SEQUENCE, num_labels=2)
    load_task("text-classification", location)  # what transformers imports late must not meet a pretended device
    return location


def test_a_batch_that_a_device_has_no_room_for_is_computed_in_halves(
    classifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = Item(CORPUS[0]), Item(" ".join(CORPUS[:3]))
    batch_of = [short, short, long, short, short]
    with pretend_device(monkeypatch) as device:
        task = load_task("text-classification", classifier, token_budget=GPU_TOKENS)
        sizes: list[int] = []
        encoded, [alone, *_] = task.encode(batch_of), results(task, [short])

        def predict(batch: Any) -> Any:
            sizes.append(len(batch))
            return task.predict(batch)

        device.largest = 0
        task.predict(encoded[:2])
        device.most_numbers = device.largest
        answers = run_step(predict, answering(1000, with_labels=True), encoded)
    assert [type(each) for each in answers] == [Answer, Answer, Failure, Answer, Answer]
    assert sizes == [5, 3, 2, 1, 2]
    assert isinstance(answers[0], Answer) and answers[0].label == alone["label"]
    told = (
        "device_out_of_memory: the device has too little memory for this alone (OutOfMemoryError: CUDA out of memory."
    )
    assert isinstance(answers[2], Failure) and answers[2].reason == "device_out_of_memory"
    assert answers[2].error.startswith(told) and "GPU" not in answers[2].error


def test_a_model_that_a_device_has_no_room_for_is_refused_in_words(
    classifier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pretend_device(monkeypatch, most_numbers=100),
        pytest.raises(ConfigurationError, match=f"weights do not fit into the memory of {NAME}:0"),
    ):
        load_task("text-classification", classifier)


OWN = """
import torch

torch.cuda.is_initialized = lambda: True  # as if this process used a GPU
torch.cuda.memory_reserved = lambda device: 1000 + Own.computed if device == "cuda:1" else 0
torch.cuda.mem_get_info = lambda device: (0, 8_000_000)

class Own:
    computed = 0

    def __init__(self, location, dtype, token_budget, device):
        self.made = {"tokens": token_budget, "device": device}

    def predict(self, inputs):
        if len(inputs) > 3 or "huge" in inputs:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 has a total of 8 GiB.")
        Own.computed += len(inputs)
        return [{"beside": len(inputs), **self.made} for _ in inputs]
"""


async def test_a_process_outlives_that_its_device_has_no_room(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    catalogue = parse_catalogue(
        '[[models]]\nname = "own"\ntask = "own.py:Own"\ndescription = "d"\n'
        '[[models.versions]]\nversion = "1"\ndefault = true\ndevice = "cuda:1"\n',
        str(tmp_path),
    )
    [served] = catalogue.served()
    plan, _ = load_plan("", served, 1, str(tmp_path))
    engine = Engine(plan, 1, ChildLimits(60, 60))
    try:
        await engine.start()
        assert engine.device_memory() == DeviceMemory(1000, 8_000_000)
        encoded: Any = await engine.encode([Item(each) for each in ("a", "b", "c", "d", "huge", "f", "g")])
        [first, *answers] = await engine.predict(encoded)
        assert isinstance(first, Answer) and b'{"beside":2,"tokens":512,"device":"cuda:1"}' == first.result
        assert [isinstance(each, Answer) for each in answers] == [True, True, True, False, True, True]
        assert isinstance(answers[3], Failure) and answers[3].reason == "device_out_of_memory"
        assert engine.device_memory() == DeviceMemory(1006, 8_000_000)
        [again] = await engine.predict(encoded[:1])
        assert isinstance(again, Answer)
    finally:
        engine.close()


@pytest.mark.parametrize("name", ["text-classification", "feature-extraction", "text-generation"])
def test_float16_on_a_cpu_is_float32_but_for_its_rounding(name: str, tmp_path: Path) -> None:
    task, make, items = TASKS[name]
    location = make(tmp_path)
    wanted, found = (results(load_task(task, location, dtype), items[:4]) for dtype in ("float32", "float16"))
    for one, other in zip(wanted, found, strict=True):
        if "text" in one:
            assert len(one["text"]) > 0 and one.keys() == other.keys()  # random weights: a close call goes either way
        else:
            numbers = [[*each["scores"].values()] if "scores" in each else each["embedding"] for each in (one, other)]
            assert numbers[0] == pytest.approx(numbers[1], abs=2e-2)
