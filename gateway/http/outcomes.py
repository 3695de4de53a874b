"""A prediction that was not answered, as an error of the request that waited for it. Pure."""

from __future__ import annotations

from gateway.core.errors import Place
from gateway.core.finished import Finished
from gateway.core.order import Input
from gateway.http.problems import ProblemError
from shared.contract.inputs import Path, read_refusal
from shared.contract.messages import Status


def unsuccessful(finished: Finished, sent: Input, options_place: Place = ("body", "options")) -> ProblemError:
    """422 if the model does not take what was sent, 504 if the deadline passed, or else 500.

    Args:
        options_place: where the options stand in the caller's request.
    """
    extra, outcome = {"prediction_id": finished.id}, finished.outcome
    if outcome.status is Status.EXPIRED:
        return ProblemError(504, "deadline-passed", outcome.error or "the deadline passed", extra=extra)
    if outcome.status is Status.CANCELLED:
        return ProblemError(409, "cancelled", outcome.error or "it was cancelled", extra=extra)
    if (refusal := read_refusal(outcome.error)) is not None:
        path, detail = refusal
        place = _place(sent, path, options_place)
        return ProblemError(422, "invalid-input", detail, errors=[(place, detail)], extra=extra)
    return ProblemError(500, "prediction-failed", outcome.error or f"it ended as {outcome.status.value}", extra=extra)


def _place(sent: Input, path: Path, options_place: Place) -> Place:
    """Where in the caller's request is what a model refused; its path begins with `input` or `options`."""
    if path and path[0] == "options":
        return (*options_place, *path[1:])
    return (*sent.place, *path[1:]) if sent.sent_as_input else sent.place
