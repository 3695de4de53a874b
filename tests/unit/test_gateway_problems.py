"""Errors as RFC 9457 has them, and nothing private in them."""

from __future__ import annotations

import orjson
import pytest
from aiohttp import web
from pydantic import ValidationError

from gateway.api.request_schemas import BatchRequest, PredictRequest
from gateway.http.problems import TITLES, ProblemError, invalid, invalid_fields, of_http_error, unavailable


def body_of(error: ProblemError) -> dict[str, object]:
    """The body of the answer."""
    response = error.response()
    assert response.content_type == "application/problem+json" and response.status == error.status
    assert isinstance(response.body, bytes)
    body: dict[str, object] = orjson.loads(response.body)
    return body


def test_a_problem_has_the_members_of_the_rfc_and_its_own() -> None:
    error = ProblemError(500, "prediction-failed", "it raised", extra={"prediction_id": "1"})
    assert body_of(error) == {
        "type": "urn:millstream:problem:prediction-failed",
        "title": "Prediction failed",
        "status": 500,
        "detail": "it raised",
        "prediction_id": "1",
    }


def test_field_errors_are_listed_and_summed_up() -> None:
    body = body_of(invalid([(("body", "texts", 3), "is bad"), (("query", "wait"), "is worse")]))
    assert body["detail"] == "body.texts.3: is bad; query.wait: is worse"
    assert body["errors"] == [
        {"loc": ["body", "texts", 3], "msg": "is bad"},
        {"loc": ["query", "wait"], "msg": "is worse"},
    ]


def test_a_detail_is_bounded() -> None:
    assert len(str(body_of(invalid([(("body", "x" * 5000), "is bad")]))["detail"])) == 2000


def test_a_refusal_says_when_to_come_back() -> None:
    assert unavailable("overloaded", "later", 7).response().headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("kind", "raw", "message"),
    [
        (PredictRequest, {"model": "m", "text": "a\0"}, "must not contain NUL characters (U+0000)"),
        (PredictRequest, {"model": "m", "text": "a\ud800"}, "must be valid Unicode: it contains a lone surrogate"),
        (BatchRequest, {"model": "m", "texts": ["\0"]}, "must not contain NUL characters (U+0000)"),
        (PredictRequest, {"model": "m", "text": "t", "private": "SECRET"}, "Extra inputs are not permitted"),
        (PredictRequest, {"model": "m", "text": ["SECRET"]}, "Input should be a valid string"),
        (
            PredictRequest,
            {"model": "m", "text": "t", "version": "SECRET" * 9},
            "String should have at most 20 characters",
        ),
    ],
)
def test_what_pydantic_found_is_said_without_the_value(
    kind: type[PredictRequest] | type[BatchRequest], raw: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(raw)
    body = body_of(invalid_fields("body", caught.value))
    assert isinstance(body["errors"], list) and [each["msg"] for each in body["errors"]] == [message]
    assert "SECRET" not in str(body) and "pydantic" not in str(body)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (web.HTTPNotFound(), 404, "not-found"),
        (web.HTTPMethodNotAllowed("PUT", ["GET", "POST"]), 405, "method-not-allowed"),
        (web.HTTPRequestEntityTooLarge(10, 20), 413, "request-entity-too-large"),
        (web.HTTPExpectationFailed(), 417, "expectation-failed"),
    ],
)
def test_errors_of_the_framework_take_our_form(error: web.HTTPException, status: int, kind: str) -> None:
    problem = of_http_error(error, 10)
    body = body_of(problem)
    assert body["status"] == status and body["type"] == f"urn:millstream:problem:{kind}" and body["detail"]
    assert problem.headers.get("Allow") == error.headers.get("Allow")


def test_every_status_of_the_design_has_a_title() -> None:
    assert set(TITLES) == {400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 421, 422, 428, 429, 500, 503, 504}


def test_names_that_a_client_chose_are_shortened() -> None:
    with pytest.raises(ValidationError) as caught:
        PredictRequest.model_validate({"model": "echo", "text": "a", "x" * 1_000_000: 1})
    response = invalid_fields("body", caught.value).response()
    assert isinstance(response.body, bytes) and len(response.body) < 1000
