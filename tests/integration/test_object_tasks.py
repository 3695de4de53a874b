"""Tasks whose input is an object or an image, on several architectures (FIXTURES), against the code they are known by.

Rankings: sentence-transformers. Images: the pipeline of transformers. Answers to questions: version 5 has no such
pipeline any more; here are its windows by the tokenizer's own truncation, and every span tried. (Seen with 4.57.6: 60
questions on five architectures, up to three answers each, agree.)
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from sentence_transformers import CrossEncoder

from inference_worker.tasks.images import MOST_BYTES, read_image
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import InvalidInput, Item, Task
from shared.contract.errors import ConfigurationError
from tests.task_outputs import check_task, takes
from tests.tiny_families import CLASSIFIERS_OF_IMAGES, CORPUS, ENCODERS, encoder, image_classifier, texts

CLASSIFIER = "AutoModelForSequenceClassification"
IDENTITY = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}
QUERY = "Where is the bridge?"
RANKED_BY = {"bert": "openvino", "deberta-v2": "openvino", "roberta": "onnxruntime", "modernbert": "onnxruntime"}


def results(task: Task, items: list[Item]) -> list[Mapping[str, Any]]:
    return [output.result for output in task.predict(task.encode(items))]


def refused(task: Task, value: Any) -> str:
    """Why an input is not taken, with its path."""
    with pytest.raises(InvalidInput) as caught:
        task.encode([Item(value)])
    return f"{'.'.join(map(str, caught.value.path))}: {caught.value}"


# --- text-ranking ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=ENCODERS)
def reranker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    settings = IDENTITY if request.param == "bert" else {}
    directory = tmp_path_factory.mktemp("rerankers") / request.param
    return encoder(directory, request.param, CLASSIFIER, num_labels=1, **settings)


def by_index(result: Mapping[str, Any]) -> list[float]:
    return [each["score"] for each in sorted(result["ranking"], key=lambda each: each["index"])]


def test_scores_are_those_of_sentence_transformers_alone_and_among_others(reranker: str) -> None:
    family = Path(reranker).name
    task = load_task("text-ranking", reranker, engine=RANKED_BY.get(family, "torch"))
    documents = [text for text in texts() if len(text) < 70] + ["Paris", "The bridge is open."]
    wanted = CrossEncoder(reranker, device="cpu").predict([(QUERY, text) for text in documents]).tolist()
    many = Item({"query": QUERY, "documents": documents})
    together = task.predict(task.encode([many, Item({"query": "a", "documents": [CORPUS[0], "b"]}), many]))
    for output in (together[0], together[2]):
        assert by_index(output.result) == pytest.approx(wanted, abs=1e-5)
        ranking = [each["score"] for each in output.result["ranking"]]
        assert ranking == sorted(ranking, reverse=True)
        assert output.confidence == (None if any(not 0 <= score <= 1 for score in wanted) else ranking[0])
    check_task("text-ranking", task, *together)
    [alone] = results(task, [Item({"query": QUERY, "documents": documents[1:2]})])
    assert by_index(alone) == pytest.approx(wanted[1:2], abs=1e-5)


def test_a_long_document_has_the_score_of_its_best_chunk(tmp_path: Path) -> None:
    task = load_task("text-ranking", encoder(tmp_path, "bert", CLASSIFIER, num_labels=1))
    [encoded] = task.encode([Item({"query": QUERY, "documents": [" ".join(CORPUS), "a"]})])
    assert encoded.rows > 2 and encoded.tokens <= 96
    [whole] = results(task, [Item({"query": QUERY, "documents": [" ".join(CORPUS), "a"]})])
    rows = [[row] for row in encoded.data[0]]
    alone = [task.predict([type(encoded)(96, [row], 1)])[0].result["ranking"][0]["score"] for row in rows]
    assert by_index(whole)[0] == pytest.approx(max(alone), abs=1e-5)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("text", ": must be an object"),
        ({"documents": ["a"]}, "query: must be given"),
        ({"query": "a"}, "documents: must be given"),
        ({"query": 1, "documents": ["a"]}, "query: must be a text"),
        ({"query": "  ", "documents": ["a"]}, "query: must not be blank"),
        ({"query": "a", "documents": []}, "documents: must be a list of texts, at least one"),
        ({"query": "a", "documents": "b"}, "documents: must be a list of texts, at least one"),
        ({"query": "a", "documents": ["b", 2]}, "documents.1: must be a text"),
        ({"query": "a", "documents": ["b", ""]}, "documents.1: must not be blank"),
        ({"query": "a", "documents": ["b"] * 257}, "documents: must have at most 256 texts, not 257"),
        ({"query": "a", "documents": ["b"], "top_k": 1}, "top_k: is not known: query and documents are"),
        ({"query": "a " * 80, "documents": ["b"]}, "query: has 80 tokens; beside it a model that reads 96 has no room"),
    ],
)
def test_what_is_no_query_with_documents_is_told_with_its_path(ranker: Task, value: Any, told: str) -> None:
    assert refused(ranker, value).startswith(told)
    assert takes("text-ranking", value) == any(each in told for each in ("query: must not be blank", "no room"))


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task("text-ranking", encoder(tmp_path_factory.mktemp("ranker"), "bert", CLASSIFIER, num_labels=1))


def test_what_is_no_cross_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has 2 labels: text-ranking needs a cross-encoder with one output"):
        load_task("text-ranking", encoder(tmp_path / "two", "bert", CLASSIFIER, num_labels=2))
    odd = {"activation_fn": "torch.nn.modules.activation.Tanh"}
    with pytest.raises(ConfigurationError, match="makes its scores by torch.nn.modules.activation.Tanh"):
        load_task("text-ranking", encoder(tmp_path, "bert", CLASSIFIER, num_labels=1, sentence_transformers=odd))


# --- question-answering ----------------------------------------------------------------------------------------------

CONTEXTS = [CORPUS[0], texts()[1], " ".join(CORPUS)]


@pytest.fixture(scope="module", params=ENCODERS)
def answerer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return encoder(tmp_path_factory.mktemp(request.param), request.param, "AutoModelForQuestionAnswering")


def asked(tokenizer: Any, model: Any, question: str, context: str) -> dict[str, float]:
    """The score of each answer: its spans among the twelve best of each window, by the words that they touch."""
    windows = {"truncation": "only_second", "max_length": 96, "stride": 48, "return_overflowing_tokens": True}
    encoded = tokenizer(question, context, return_token_type_ids=True, **windows)
    answers: dict[str, float] = {}
    for at in range(len(encoded["input_ids"])):
        with torch.no_grad():
            output = model(**{name: torch.tensor([encoded[name][at]]) for name in tokenizer.model_input_names})
        free = torch.tensor([place == 1 for place in encoded.sequence_ids(at)])
        free[0] = True  # the control token in front
        logits = (output.start_logits, output.end_logits)
        first, last = (each[0].masked_fill(~free, -10_000).softmax(0) for each in logits)
        inside = [position for position in range(1, len(free)) if free[position]]
        spans = [(begin, end) for begin in inside for end in inside if begin <= end < begin + 15]
        for begin, end in sorted(spans, key=lambda span: -float(first[span[0]] * last[span[1]]))[:12]:
            window = encoded[at]
            start = window.word_to_chars(window.token_to_word(begin), 1)[0]
            text = context[start : window.word_to_chars(window.token_to_word(end), 1)[1]].lower()
            answers[text] = answers.get(text, 0.0) + float(first[begin] * last[end])
    return answers


def test_the_best_answer_is_the_best_of_all_spans_alone_and_among_others(answerer: str) -> None:
    task = load_task("question-answering", answerer)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(answerer)
    model: Any = transformers.AutoModelForQuestionAnswering.from_pretrained(answerer)
    items = [Item({"question": QUERY, "context": context}) for context in CONTEXTS]
    for item, output in zip(items, task.predict(task.encode(items)), strict=True):
        [answer] = output.result["answers"]
        text, score = max(asked(tokenizer, model, QUERY, item.input["context"]).items(), key=lambda pair: pair[1])
        assert answer["text"].lower() == text and answer["score"] == pytest.approx(score, abs=1e-5)
        assert answer["text"] == item.input["context"][answer["start"] : answer["end"]]
        assert output.confidence == min(1, answer["score"])
        [alone] = results(task, [item])
        assert alone["answers"][0]["score"] == pytest.approx(answer["score"], abs=1e-5)
    [encoded] = task.encode(items[2:])  # windows that overlap
    wanted = tokenizer(
        QUERY, " ".join(CORPUS), truncation="only_second", max_length=96, stride=48, return_overflowing_tokens=True
    )
    assert [list(row.ids) for row in encoded.data.rows] == wanted["input_ids"]


def test_several_answers_are_in_order_and_none_may_be_one(questions: Task) -> None:
    wanted = {"top_k": 4, "handle_impossible_answer": True, "max_answer_len": 2}
    [output] = questions.predict(questions.encode([Item({"question": QUERY, "context": CORPUS[1]}, wanted)]))
    check_task("question-answering", questions, output)
    scores = [each["score"] for each in output.result["answers"]]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["a"], ": must be an object"),
        ({"question": "a"}, "context: must be given"),
        ({"question": "a", "context": None}, "context: must be a text"),
        ({"question": "a", "context": "b", "id": 1}, "id: is not known: question and context are"),
        ({"question": "a " * 50, "context": "b"}, "question: has 50 tokens; a model that reads 96 has no room for"),
    ],
)
def test_what_is_no_question_is_told_with_its_path(questions: Task, value: Any, told: str) -> None:
    assert refused(questions, value).startswith(told)
    assert takes("question-answering", value) == ("no room" in told)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Task:
    location = encoder(tmp_path_factory.mktemp("questions"), "bert", "AutoModelForQuestionAnswering")
    return load_task("question-answering", location)


# --- image-classification --------------------------------------------------------------------------------------------


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sent(image: Image.Image, kind: str = "PNG", **settings: Any) -> str:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module", params=CLASSIFIERS_OF_IMAGES)
def seer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return image_classifier(tmp_path_factory.mktemp(request.param), request.param)


def test_images_are_classified_as_by_the_pipeline_alone_and_among_others(seer: str) -> None:
    task = load_task("image-classification", seer)
    reference: Any = transformers.pipeline("image-classification", seer, device="cpu")
    images = [picture(48, 31, 1), picture(20, 64, 2), picture(32, 32, 3).convert("P"), picture(200, 90, 4)]
    together = task.predict(task.encode([Item(sent(image), {"top_k": 3}) for image in images]))
    for image, output in zip(images, together, strict=True):
        wanted = {each["label"]: each["score"] for each in reference(image.convert("RGB"), top_k=3)}
        assert output.result["scores"] == pytest.approx(wanted, abs=1e-5)
        assert list(output.result["scores"]) == list(wanted) and output.result["label"] == next(iter(wanted))
        assert output.confidence == output.result["scores"][output.result["label"]]
        [alone] = results(task, [Item(sent(image), {"top_k": 3})])
        assert alone["scores"] == pytest.approx(output.result["scores"], abs=1e-5)
    assert len(task.labels) == 7  # type: ignore[attr-defined]
    check_task("image-classification", task, *together)


def test_independent_labels_and_plain_numbers_stay_what_they_are(tmp_path: Path) -> None:
    several = image_classifier(tmp_path / "a", "vit", problem_type="multi_label_classification")
    number = image_classifier(tmp_path / "b", "vit", problem_type="regression", num_labels=1)
    for location in (several, number):
        reference: Any = transformers.pipeline("image-classification", location, device="cpu")
        [found] = results(load_task("image-classification", location), [Item(sent(picture(32, 32)), {"top_k": 9})])
        wanted = {each["label"]: each["score"] for each in reference(picture(32, 32), top_k=9)}
        assert found["scores"] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_each_format_is_read_in_each_form(kind: str) -> None:
    encoded = sent(picture(8, 6), kind)
    forms: list[Any] = [encoded, {"image": encoded}, f"data:image/x;base64,{encoded}", f"data:;base64,{encoded}"]
    forms.append("\n".join(encoded[at : at + 76] for at in range(0, len(encoded), 76)))
    assert all(read_image(form).size == (8, 6) and takes("image-classification", form) for form in forms)


def test_an_image_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(sent(picture(8, 6), "JPEG", exif=exif)).size == (6, 8)


def png(width: int, height: int) -> str:
    """A PNG of a hundred bytes that names any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b""))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1, ": must be an image"),
        ({"image": 1}, "image: must be an image"),
        ({"image": "", "more": 1}, ": must be an image"),
        ("%%%", ": must be base64"),
        ("data:image/png,abc", ": must be a data: URL of the form data:image/png;base64,"),
        ("https://example.org/a.png", ": must be the image itself"),
        (base64.b64encode(b"GIF89a").decode(), ": is no image of a format that is read: PNG, JPEG, WEBP, GIF, BMP"),
        (base64.b64encode(b"%PDF-1.4").decode(), ": is no image of a format that is read"),
        (sent(picture(4, 4), "TIFF"), ": is no image of a format that is read"),
        ({"image": sent(picture(64, 64))[:4000]}, "image: is a PNG image that is broken or cut off"),
        (png(4001, 4000), ": must have at most 16000000 pixels, not 4001 x 4000"),
        (png(2**31 - 1, 2**31 - 1), ": must have at most 16000000 pixels"),
        (png(210, 10), ": must be at most 20 times as long as wide, not 210 x 10"),
        ("A" * (MOST_BYTES * 4 // 3 + 8), f": must have at most {MOST_BYTES} bytes, not"),
    ],
    ids=range(14),
)
def test_what_is_no_image_or_too_large_is_told(seeing: Task, value: Any, told: str) -> None:
    assert refused(seeing, value).startswith(told)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return load_task("image-classification", image_classifier(tmp_path_factory.mktemp("seeing"), "convnext"))


def test_without_a_preparation_a_classifier_is_refused(tmp_path: Path) -> None:
    location = image_classifier(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigurationError, match="does not say how its images are prepared"):
        load_task("image-classification", location)
