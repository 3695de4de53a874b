"""The OpenAPI document by model: bodies and results of each, whatever its workers tell, within bounds."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from gateway.api import by_model
from gateway.api.by_model import KINDS, document_of, variants_of
from gateway.api.operations import OPERATIONS
from gateway.api.request_schemas import bounds_schema, options_schema
from gateway.http.openapi import openapi
from shared.contract.catalogue import Catalogue, Model
from shared.contract.options import OptionErrors, encode_options
from shared.contract.schemas import Schemas
from shared.contract.tasks import TASKS

IRIS = {
    "type": "object",
    "properties": {"measures": {"type": "array", "items": {"$ref": "#/$defs/Measure"}}},
    "required": ["measures"],
    "$defs": {"Measure": {"type": "number"}},
}
TOLD = {"input": IRIS, "output": {"type": "object", "required": ["species"]}, "example": {"measures": [1]}}


def model(name: str = "iris", task: str = "iris.py:Iris", versions: str = "1*", **settings: Any) -> Model:
    """A model with versions such as `1* 2 3-`: the default one, another, one that is not active."""
    made = [
        {"version": each.strip("*-"), "artifact": "a", "default": "*" in each, "active": "-" not in each}
        for each in versions.split()
    ]
    return Model.model_validate({"name": name, "task": task, "description": "d", "versions": made, **settings})


def base(*models: Model) -> dict[str, Any]:
    catalogue = Catalogue(models=models or (model(),))
    schemas = {**bounds_schema(1000, 100), "Options": options_schema(catalogue)}
    return openapi(OPERATIONS, "1", schemas, {}, secured=False)


def document(told: dict[str, Schemas], *models: Model) -> Any:
    plain = base(*models)
    before = orjson.dumps(plain)
    made = document_of(plain, [variant for each in models for variant in variants_of(each, told, plain)])
    assert orjson.dumps(plain) == before, "it is kept"
    return orjson.loads(orjson.dumps(made))


def content(found: Any, kind: str = "Predict") -> Any:
    return found["paths"][KINDS[kind].path]["post"]["requestBody"]["content"]["application/json"]


def fits(found: Any, name: str, value: Any) -> bool:
    schema = {"$ref": f"#/components/schemas/{name}", "components": found["components"]}
    return bool(Draft202012Validator(schema).is_valid(value))


def test_a_body_of_a_model_is_what_it_takes() -> None:
    found = document({"iris:1": TOLD}, model(options=["top_k"]))
    assert content(found)["schema"]["anyOf"] == [
        {"$ref": "#/components/schemas/iris.Predict"},
        {"$ref": "#/components/schemas/PredictRequest"},
    ]
    good: dict[str, Any] = {"model": "iris", "input": {"measures": [1.5]}}
    right: list[Any] = [{}, {"version": "1"}, {"options": {"top_k": 1}}, {"priority": "batch", "subject": "s"}]
    assert all(fits(found, "iris.Predict", good | each) for each in right)
    bad: list[Any] = [{"input": {"measures": ["a"]}}, {"model": "rose"}, {"version": "2"}, {"options": {"k": 1}}]
    assert not any(fits(found, "iris.Predict", good | each) for each in [*bad, {"more": 1}])
    assert not fits(found, "iris.Predict", {"model": "iris", "text": "a"})
    assert fits(found, "iris.Batch", {"model": "iris", "inputs": [{"measures": []}] * 3})
    assert not fits(found, "iris.Batch", {"model": "iris", "inputs": [{"measures": []}, {"measures": ["a"]}]})
    assert content(found)["examples"] == {"iris": {"value": {"model": "iris", "input": {"measures": [1]}}}}
    assert content(found, "Batch")["examples"]["iris"]["value"] == {"model": "iris", "inputs": [{"measures": [1]}]}


def test_what_is_asked_of_any_model_stays_valid() -> None:
    plain, found = base(), document({"iris:1": TOLD}, model())
    generic = plain["components"]["schemas"]["PredictRequest"]
    assert found["components"]["schemas"]["PredictRequest"] == generic
    assert content(found)["schema"]["anyOf"][-1] == content(plain)["schema"]
    assert document_of(plain, []) is plain


def test_results_are_those_of_models_or_any() -> None:
    found = document({"iris:1": TOLD}, model(), model("other"))
    for answer in ("Prediction", "StoredPrediction"):
        result = found["components"]["schemas"][answer]["properties"]["result"]
        assert result["anyOf"] == [
            {"$ref": "#/components/schemas/iris.Result"},
            {"type": "object", "additionalProperties": True},
            {"type": "null"},
        ]


def test_a_model_that_tells_nothing_takes_a_text_or_anything() -> None:
    found = document({}, model(options=["top_k"]))
    right: list[Any] = [{"text": "a"}, {"input": 1}, {"text": "a", "options": {"top_k": {}}}]
    assert all(fits(found, "iris.Predict", {"model": "iris", **each}) for each in right)
    bad: list[Any] = [{}, {"text": ""}, {"text": "a", "input": 1}, {"text": "a", "options": {"labels": []}}]
    assert not any(fits(found, "iris.Predict", {"model": "iris", **each}) for each in bad)
    assert content(found)["examples"]["iris"]["value"] == {"model": "iris", "text": "This is great!"}


def test_a_model_of_texts_takes_them_as_text() -> None:
    told: dict[str, Schemas] = {"iris:1": {"input": {"type": "string", "maxLength": 3}, "example": "abc"}}
    found = document(told, model())
    assert fits(found, "iris.Predict", {"model": "iris", "text": "abc"})
    for given in ({"text": "abcd"}, {"text": " "}, {"input": "abc"}):
        assert not fits(found, "iris.Predict", {"model": "iris", **given})
    assert fits(found, "iris.Batch", {"model": "iris", "texts": ["abc"]})
    assert not fits(found, "iris.Batch", {"model": "iris", "texts": ["abc", "abcd"]})
    assert content(found)["examples"]["iris"]["value"] == {"model": "iris", "text": "abc"}


def test_versions_that_differ_are_told_apart() -> None:
    told: dict[str, Any] = {"iris:1": {}, "iris:2": TOLD, "iris:3": TOLD, "iris:4": TOLD, "iris:5": {}}
    found = document(told, model(versions="1 2 3* 4- 5"))
    bodies = [each["$ref"].rpartition("/")[2] for each in content(found)["schema"]["anyOf"]]
    assert bodies == ["iris.Predict", "iris.V1.Predict", "PredictRequest"]
    good: dict[str, Any] = {"model": "iris", "input": {"measures": []}}
    for version in ({}, {"version": "3"}, {"version": "2"}):
        assert fits(found, "iris.Predict", good | version)
    for version in ({"version": "1"}, {"version": "4"}):
        assert not fits(found, "iris.Predict", good | version)
    text = {"model": "iris", "text": "a"}
    assert not fits(found, "iris.V1.Predict", text), "only by its name: it is not the default"
    assert all(fits(found, "iris.V1.Predict", text | {"version": each}) for each in "15")
    assert content(found)["examples"]["iris:1"]["value"] == {
        "model": "iris",
        "version": "1",
        "text": "This is great!",
    }


@pytest.mark.parametrize("task", TASKS)
def test_built_in_tasks_have_bodies_and_examples_that_fit(task: str) -> None:
    found = document({}, model("m", task))
    examples = content(found)["examples"]
    assert set(examples) == (set() if task in ("fill-mask", "translation") else {"m"}), "those are up to the model"
    for each in examples.values():
        assert fits(found, "m.Predict", each["value"])
    assert "m.Result" in found["components"]["schemas"]
    if task == "zero-shot-classification":
        assert not fits(found, "m.Predict", {"model": "m", "text": "a"}), "it needs labels"
    told: dict[str, Schemas] = {"m:1": {"example": "Own.", "example_options": {"tgt_lang": "de"}}}
    own = content(document(told, model("m", "translation")))["examples"]["m"]["value"]
    assert own == {"model": "m", "text": "Own.", "options": {"tgt_lang": "de"}}


def test_whatever_is_told_the_document_is_valid() -> None:
    odd: list[Any] = [None, 5, [], "a", {"type": 1}, {"$ref": "https://a.example"}, True, False, {}, {"type": "null"}]
    told: dict[str, Schemas] = {
        f"m{at}:1": dict.fromkeys(("input", "options", "output", "example", "example_options"), each)
        for at, each in enumerate(odd)
    }
    models = [*(model(f"m{at}") for at in range(len(odd))), *(model(task, task) for task in TASKS)]
    found = document(told | {"iris:1": TOLD}, model(versions="1* 2"), *models)
    validate(found)
    assert not fits(found, "m9.Predict", {"model": "m9"})
    for at in range(len(odd) - 1):
        assert fits(found, f"m{at}.Predict", {"model": f"m{at}", "input": [1]})


def test_as_much_is_shown_as_fits_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [model(f"m{number}") for number in range(5)]
    monkeypatch.setattr(by_model, "MOST_SHOWN", 3)
    found = document({}, *models)
    assert len(content(found)["schema"]["anyOf"]) == len(content(found)["examples"]) + 1 == 4
    body = found["paths"]["/api/v1/predict"]["post"]["requestBody"]
    assert "2 more are not shown" in body["description"]
    large = {"output": {"enum": ["x" * 20_000]}}
    [variant] = variants_of(models[0], {"m0:1": large}, base())
    assert 20_000 < variant.size < 30_000
    monkeypatch.setattr(by_model, "MOST_BYTES", variant.size - 1)
    found = document({"m0:1": large}, *models[:3])
    assert set(content(found)["examples"]) == {"m1", "m2"}
    monkeypatch.setattr(by_model, "MOST_BYTES", 1)
    assert document({}, *models) == base(*models)


@pytest.mark.parametrize("named", [["top_k"], []])
def test_options_are_those_that_the_catalogue_names_whatever_workers_tell(named: list[str]) -> None:
    """The gateway lets no others through, so the document must not show them as accepted."""
    fields = {"top_k": {"type": "integer"}, "beams": {"type": "integer"}}
    for options in ({"type": "object", "properties": fields}, {"type": "object", "additionalProperties": True}):
        told: Schemas = {"options": options, "example": "A.", "example_options": {"top_k": 1, "beams": 2}}
        found = document({"m:1": told}, model("m", "a:B", options=named))
        for sent in ({"top_k": 1}, {"beams": 2}, {"top_k": 1, "beams": 2}, {}):
            accepted = set(sent) <= set(named)
            assert fits(found, "m.Predict", {"model": "m", "text": "a", "options": sent}) is accepted
            if not accepted:
                with pytest.raises(OptionErrors):
                    encode_options("a:B", sent, named)
        assert content(found)["examples"]["m"]["value"]["options"].keys() == set(named)
        validate(found)
