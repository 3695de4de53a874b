"""The faces' pure parts: tensors, errors as clients read them, and how Hugging Face's tasks are asked and answered."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from huggingface_hub import (
    FillMaskOutputElement,
    ImageClassificationOutputElement,
    QuestionAnsweringOutputElement,
    TokenClassificationOutputElement,
    TranslationOutput,
)
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from gateway.core.errors import UnknownModel
from gateway.http.problems import ProblemError, of_core_error
from gateway.protocols import hf_tasks
from gateway.protocols.bodies import text_inputs
from gateway.protocols.dialects import hugging_face, openai, v2
from gateway.protocols.v2_outputs import defaults_of, names_of, outputs_of, tensors_of
from gateway.protocols.v2_tensors import (
    MalformedTensor,
    Tensor,
    count_of,
    described,
    packed,
    texts_of_bytes,
    texts_of_json,
)
from shared.contract.tasks import TASKS

# --- tensors --------------------------------------------------------------------------------------------------------

ELEMENT = b"\x02\0\0\0hi"


@pytest.mark.parametrize(("shape", "count"), [([1], 1), ([8], 8), ([2, 1], 2)])
def test_a_shape_is_one_element_for_each_prediction(shape: list[int], count: int) -> None:
    assert count_of(shape, 8) == count


@pytest.mark.parametrize("shape", [[], [0], [-1], [9], [10**18], [1, 2], [2, 0], [1, 1, 1], [1, -1]])
def test_another_shape_is_refused_before_it_is_used(shape: list[int]) -> None:
    with pytest.raises(MalformedTensor):
        count_of(shape, 8)


@pytest.mark.parametrize("texts", [["hi"], ["", "Größe 🎉", "a" * 70_000]])
def test_texts_in_bytes_are_read_as_the_client_writes_them(texts: list[str]) -> None:
    written = serialize_byte_tensor(np.array(texts, dtype=object)).item()
    assert texts_of_bytes(written, len(texts)) == texts
    assert packed(Tensor("a", "BYTES", [len(texts)], texts)) == written
    assert [each.decode() for each in deserialize_bytes_tensor(written)] == texts


@pytest.mark.parametrize(
    ("given", "count", "said"),
    [
        (b"", 1, "its bytes end before element 0"),
        (ELEMENT, 2, "its bytes end before element 1"),
        (ELEMENT + b"\0\0\0", 2, "its bytes end before element 1"),
        (ELEMENT, 1_000_000_000, "its bytes end before element 1"),
        (ELEMENT * 2, 1, "6 bytes follow its last element"),
        (b"\xff\xff\xff\xffhi", 1, "element 0 has 4294967295 bytes, of which 2 are there"),
        (b"\x01\0\0\0\xff", 1, "element 0 is not UTF-8"),
        (b"\x03\0\0\0\xed\xa0\x80", 1, "element 0 is not UTF-8"),  # a lone surrogate
    ],
)
def test_bytes_that_are_not_as_they_say_are_refused(given: bytes, count: int, said: str) -> None:
    with pytest.raises(MalformedTensor, match=said):
        texts_of_bytes(given, count)


def test_texts_in_json_are_flat_or_nested() -> None:
    assert texts_of_json(["a", "b"], 2) == texts_of_json([["a"], ["b"]], 2) == ["a", "b"]
    for given, count in ((["a"], 2), (["a", "b"], 1), ([["a", "b"]], 1), ([["a", "b"]], 2), ([[]], 1), ([1], 1)):
        with pytest.raises(MalformedTensor):
            texts_of_json(given, count)


def test_numbers_are_little_endian_and_one_too_large_is_infinite() -> None:
    assert packed(Tensor("a", "FP32", [2], [0.5, 1e300])) == struct.pack("<2f", 0.5, float("inf"))
    about, behind = described(Tensor("a", "FP32", [2, 1], [0.5, 1.0]), binary=True)
    assert about == {"name": "a", "datatype": "FP32", "shape": [2, 1], "parameters": {"binary_data_size": 8}}
    assert len(behind) == 8
    assert described(Tensor("a", "FP32", [1], [0.5]), binary=False)[0]["data"] == [0.5]


@pytest.mark.parametrize("task", [*TASKS, "package.module:Class"])
def test_every_task_has_outputs_that_its_metadata_names(task: str) -> None:
    assert [each["name"] for each in outputs_of(task)] == names_of(task) and names_of(task)[-1] == "result"
    assert set(defaults_of(task)) <= set(names_of(task)) and defaults_of(task)


def test_scores_are_told_best_first_however_they_are_stored() -> None:
    texts = [b'{"label":"b","scores":{"a":0.1,"b":0.9}}', b'{"label":"a","scores":{"a":0.7,"b":0.3}}']
    tensors = tensors_of("text-classification", names_of("text-classification"), texts)
    assert [(each.name, list(each.shape), list(each.data)) for each in tensors[:4]] == [
        ("label", [2], ["b", "a"]),
        ("score", [2], [0.9, 0.7]),
        ("labels", [2, 2], ["b", "a", "a", "b"]),
        ("scores", [2, 2], [0.9, 0.1, 0.7, 0.3]),
    ]
    assert tensors[4].data == [each.decode() for each in texts]


# --- errors ---------------------------------------------------------------------------------------------------------


def test_each_dialect_keeps_the_problem_and_adds_its_own() -> None:
    problem = of_core_error(UnknownModel("nothing", known=["echo"]))
    for dialect in (v2, openai, hugging_face):
        made = dialect(problem)
        assert (made.status, made.kind, made.detail) == (404, "unknown-model", problem.detail)
    assert v2(problem).extra == {"error": problem.detail}
    assert hugging_face(problem).extra == {"error": problem.detail, "error_type": "Validation"}
    error = openai(problem).extra["error"]
    assert error["code"] == "model_not_found" and error["param"] == "model" and error["message"] == problem.detail


@pytest.mark.parametrize(
    ("status", "headers", "pointless", "openai_type", "hf_type"),
    [
        (400, {}, False, "invalid_request_error", "Validation"),
        (401, {}, False, "authentication_error", "Validation"),
        (403, {}, False, "permission_error", "Validation"),
        (409, {}, True, "invalid_request_error", "Validation"),
        (429, {"Retry-After": "1"}, False, "rate_limit_error", "Overloaded"),
        (429, {}, True, "rate_limit_error", "Overloaded"),
        (500, {}, True, "server_error", "Backend"),
        (503, {"Retry-After": "1"}, False, "server_error", "Overloaded"),
        (504, {}, True, "server_error", "Backend"),
    ],
)
def test_what_would_fail_again_is_not_to_be_sent_again(
    status: int, headers: dict[str, str], pointless: bool, openai_type: str, hf_type: str
) -> None:
    problem = ProblemError(status, "a-kind", "why", headers=headers, errors=[(("body", "input", 3), "why")])
    for dialect in (v2, openai, hugging_face):
        made = dialect(problem)
        assert made.headers == {**headers, **({"x-should-retry": "false"} if pointless else {})}
    assert openai(problem).extra["error"] == {
        "message": "why",
        "type": openai_type,
        "param": "input.3",
        "code": "a_kind",
    }
    assert hugging_face(problem).extra["error_type"] == hf_type


# --- Hugging Face's tasks -------------------------------------------------------------------------------------------


def answer(task: str, result: Any, given: Any = "", **parameters: Any) -> Any:
    return hf_tasks.hf_task(task).answer(result, given, parameters)


def test_answers_have_the_shape_that_the_client_reads() -> None:
    entity = {"label": "PER", "text": "Ada", "start": 0, "end": 3, "score": 0.5}
    (found,) = TokenClassificationOutputElement.parse_obj_as_list(
        answer("token-classification", {"entities": [entity]})
    )
    assert (found.entity_group, found.word, found.start, found.end, found.score) == ("PER", "Ada", 0, 3, 0.5)
    (found,) = answer("token-classification", {"entities": [entity]}, aggregation_strategy="none")
    assert found["entity"] == "PER"
    assert answer("token-classification", {"entities": [entity]}, ignore_labels=["PER"]) == []

    masks = [[{"token": 3, "text": "open", "score": 0.5}], [{"token": 4, "text": "now", "score": 0.4}]]
    (mask,) = FillMaskOutputElement.parse_obj_as_list(answer("fill-mask", {"masks": masks[:1]}, "It is <mask>."))
    assert (mask.sequence, mask.token, mask.token_str) == ("It is open.", 3, "open")
    assert [each[0]["token_str"] for each in answer("fill-mask", {"masks": masks}, "[MASK] [MASK]")] == ["open", "now"]

    found_in = [{"text": "Monday", "start": 3, "end": 9, "score": 0.5}]
    one = QuestionAnsweringOutputElement.parse_obj(answer("question-answering", {"answers": found_in}))
    assert isinstance(one, QuestionAnsweringOutputElement) and one.answer == "Monday"
    assert isinstance(answer("question-answering", {"answers": found_in}, top_k=2), list)

    translated = TranslationOutput.parse_obj_as_instance(answer("translation", {"translation": "Hallo"}))
    assert translated.translation_text == "Hallo"
    assert answer("text-generation", {"text": " there"}, "Hi") == {"generated_text": " there"}
    assert answer("text-generation", {"text": " there"}, "Hi", return_full_text=True) == {"generated_text": "Hi there"}
    pictures = answer("image-classification", {"label": "cat", "scores": {"dog": 0.1, "cat": 0.9}})
    assert ImageClassificationOutputElement.parse_obj_as_list(pictures)[0].label == "cat"
    assert answer("package.module:Class", {"any": "thing"}) == {"any": "thing"}


def test_parameters_become_the_options_of_the_task() -> None:
    def options(task: str, **parameters: Any) -> dict[str, Any]:
        return hf_tasks.options_of(task, hf_tasks.flat(parameters))

    zero_shot = options("zero-shot-classification", candidate_labels=["a"], multi_label=False, hypothesis_template=None)
    assert zero_shot == {"labels": ["a"]}
    assert options("summarization", generate_parameters={"max_length": 20}, truncation=True) == {"max_length": 20}
    assert options("text-classification", top_k=1, function_to_apply="softmax") == {}
    assert options("package.module:Class", anything=1) == {"anything": 1}


@pytest.mark.parametrize(
    ("task", "parameters", "said"),
    [
        ("text-classification", {"stride": 1}, "body.parameters.stride: is not supported for text-classification"),
        ("text-classification", {"top_k": 0}, "body.parameters.top_k: must be a whole number above 0"),
        ("text-classification", {"top_k": True}, "body.parameters.top_k: must be a whole number above 0"),
        ("image-classification", {"function_to_apply": "none"}, "function_to_apply: cannot be `none`"),
        ("token-classification", {"ignore_labels": 1}, "ignore_labels: must be a list"),
        ("text-generation", {"details": True}, "details: is not supported"),
        ("summarization", {"generate_parameters": {"num_beams": 2}}, "num_beams: is not supported"),
    ],
)
def test_a_parameter_that_is_not_known_is_refused_by_name(task: str, parameters: Any, said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        hf_tasks.options_of(task, hf_tasks.flat(parameters))
    assert caught.value.status == 422 and said in caught.value.detail


@pytest.mark.parametrize(
    ("given", "status"),
    [([], 422), ({}, 422), (None, 422), (1, 422), (["a", None], 422), (["a", {}], 422), ([1], 400), ([["a"]], 400)],
)
def test_what_is_no_text_is_refused(given: Any, status: int) -> None:
    with pytest.raises(ProblemError) as caught:
        text_inputs(given, "body", "input")
    assert caught.value.status == status


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_text_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        text_inputs(["a", text], "body", "input")
    assert caught.value.status == 422 and caught.value.errors[0][0] == ("body", "input", 1)
