"""What schemathesis has to be told beyond the OpenAPI document; it imports this module by SCHEMATHESIS_HOOKS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.checks import CheckContext

MISBEHAVING = ("raise", "kill", "nan", "slow", "count")  # texts that tests.fixtures.tasks.Echo answers badly on purpose
SHORT_S = 5.0


@schemathesis.hook
def filter_body(context: HookContext, body: Any) -> bool:
    """Leave out texts that have the fixture model fail: an answer of 500 is then an error of the pipeline's."""
    if not isinstance(body, Mapping):
        return True
    return not any(text.startswith(MISBEHAVING) for text in _strings(body))


def _strings(value: Any) -> Iterator[str]:
    """Every string in a body, wherever its operation has texts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(each)


@schemathesis.check
def expires_only_by_its_deadline(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """504 is right only where the pipeline had little time: by this request, or by the one that used its key first."""
    if response.status_code == 504 and "Idempotency-Key" not in (case.headers or {}):
        timeout = min(float(str((case.query or {}).get(name, "inf"))) for name in ("timeout", "wait"))
        parameters = case.body.get("parameters") if isinstance(case.body, Mapping) else None
        microseconds = parameters.get("timeout") if isinstance(parameters, Mapping) else None
        if case.operation.path.startswith("/v2/") and isinstance(microseconds, int):
            timeout = min(timeout, microseconds / 1e6 or timeout)
        assert timeout < SHORT_S, f"a request with {timeout} s until its deadline, or to wait, was not in time"


@schemathesis.check
def refuses_valid_filters_only_without_their_model(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """The history refuses valid parameters for two reasons: a version without its model, another list's cursor."""
    if _refused_though_valid(case, response, "list_predictions"):
        without_model = "version" in case.query and "model" not in case.query
        assert without_model or "cursor: must be the `next_cursor` of the previous page" in response.text, response.text


@schemathesis.check
def refuses_to_erase_what_is_valid_only_without_a_filter(
    ctx: CheckContext, response: Response, case: Case[Any]
) -> None:
    """Erasing refuses valid parameters for one reason: there are none."""
    if _refused_though_valid(case, response, "erase_predictions"):
        assert not {"principal", "subject", "before"} & set(case.query), response.text


@schemathesis.check
def refuses_valid_days_only_if_they_are_far_apart(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Usage refuses valid parameters for one reason: the first day is after the last, or long before it."""
    if _refused_though_valid(case, response, "usage"):
        assert "days before `last`" in response.text, response.text


@schemathesis.check
def refuses_valid_bodies_only_for_their_input(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """A valid body is refused for what its model does not take, that `input` or `options` of another task; or for where
    it is to be called back, which is off here.
    """
    if any(_refused_though_valid(case, response, each) for each in ("predict", "predict_batch")):
        places = [each["loc"][:2] for each in response.json().get("errors", [])]
        fields = ("input", "inputs", "options", "callback_url")
        assert places and all(place[1] in fields for place in places), response.text


def _refused_though_valid(case: Case[Any], response: Response, operation_id: str) -> bool:
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    asked = case.operation.definition.raw.get("operationId")
    return valid and response.status_code == 422 and asked == operation_id


@schemathesis.check
def gives_nothing_away(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """No stack trace, no host name; a refusal for want of capacity says when to come back."""
    if response.status_code >= 400:
        assert "Traceback" not in response.text and "127.0.0.1" not in response.text
    if response.status_code == 503 and case.operation.path.startswith("/api/"):
        assert "retry-after" in response.headers
