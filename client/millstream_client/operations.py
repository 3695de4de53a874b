"""The operations of the API, as steps (see `calls`): what both clients are made of."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import quote

from millstream_client.batches import input_field, inputs_field, part_key, refused_inputs, too_much
from millstream_client.calls import Call, Reply, Steps
from millstream_client.errors import InvalidRequest, NotFinished, PredictionFailed
from millstream_client.results import (
    DeadLetter,
    Model,
    Prediction,
    Unfinished,
    refused_input,
    state_of,
)
from millstream_client.retrying import Patience, answered

LONGEST_WAIT_S = 30.0  # of one request: proxies often end those that take a minute
PAGE = 100


class Asked(TypedDict, total=False):
    """What may be said of a prediction besides model and input.

    version: of the model; default: the model's default version.
    options: what the model's task takes.
    subject: whom it is made for: an experiment gives them always the same version.
    priority: `interactive` or `batch`.
    tags: short pairs of names and values by which it is found again.
    callback_url: where its result is sent.
    expires_s: seconds that it may stay in the queue.
    """

    version: str | None
    options: Mapping[str, Any] | None
    subject: str | None
    priority: str | None
    tags: Mapping[str, str] | None
    callback_url: str | None
    expires_s: float | None


def new_key() -> str:
    """A fresh idempotency key."""
    return uuid.uuid4().hex


def body_of(model: str, asked: Asked) -> dict[str, Any]:
    """What a request says besides its input."""
    said = {name: value for name, value in asked.items() if value is not None and name != "expires_s"}
    return {"model": model, **said}


class Operations:
    """The operations, each with the patience of a client."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience

    def predict(self, model: str, given: Any, asked: Asked, key: str, timeout_s: float) -> Steps[Prediction]:
        """Predict for one input, and wait for it."""
        reply = yield from self._post(
            "/api/v1/predict", {**body_of(model, asked), **input_field(given)}, asked, key, timeout_s
        )
        state = state_of(reply.body)
        if isinstance(state, Unfinished):
            state = yield from self.wait(state, reply.sent_at, timeout_s)
        return successful(state)

    def submit(self, model: str, given: Any, asked: Asked, key: str) -> Steps[Prediction | Unfinished]:
        """Predict for one input, without waiting."""
        body = {**body_of(model, asked), **input_field(given)}
        reply = yield from self._post("/api/v1/predict", body, asked, key, 0)
        return state_of(reply.body)

    def batch(
        self, model: str, inputs: Sequence[Any], asked: Asked, key: str, timeout_s: float
    ) -> Steps[list[Prediction]]:
        """Predict for several inputs; one prediction for each, in their order, whether it succeeded or not."""
        found = yield from self._part(model, inputs, range(len(inputs)), asked, key, timeout_s)
        return [found[index] for index in range(len(inputs))]

    def _part(
        self, model: str, inputs: Sequence[Any], indexes: Sequence[int], asked: Asked, key: str, timeout_s: float
    ) -> Steps[dict[int, Prediction]]:
        """Some inputs of a batch. Those that are refused are left out; if they are too many, half as many are sent."""
        if not indexes:
            return {}
        body = {**body_of(model, asked), **inputs_field([inputs[each] for each in indexes])}
        try:
            reply = yield from self._post(
                "/api/v1/predict/batch", body, asked, part_key(key, indexes, len(inputs)), timeout_s
            )
        except InvalidRequest as error:
            found, parts = _left_of(error, model, indexes, asked)
            for part in parts:
                found |= yield from self._part(model, inputs, part, asked, key, timeout_s)
            return found
        finished = yield from self._all_finished(reply, timeout_s)
        return dict(zip(indexes, finished, strict=True))

    def _all_finished(self, reply: Reply, timeout_s: float) -> Steps[list[Prediction]]:
        found: list[Prediction] = []
        for state in map(state_of, reply.body["items"]):
            if isinstance(state, Unfinished):
                state = yield from self.wait(state, reply.sent_at, timeout_s)
            found.append(state)
        return found

    def wait(self, state: Unfinished, since: float, timeout_s: float) -> Steps[Prediction]:
        """Wait for a prediction that was begun to be waited for at a time.

        Raises:
            NotFinished: it is not finished in time.
        """
        waited_s = 0.0
        while True:
            left = timeout_s - waited_s
            if left <= 0:
                raise NotFinished(state.prediction_id, timeout_s, state.note or "")
            reply = yield from self._read(state.prediction_id, min(LONGEST_WAIT_S, left))
            found = state_of(reply.body)
            if isinstance(found, Prediction):
                return found
            state, waited_s = found, reply.at - since

    def read(self, prediction_id: str, wait_s: float = 0) -> Steps[Prediction | Unfinished]:
        """Read one prediction."""
        reply = yield from self._read(prediction_id, wait_s)
        return state_of(reply.body)

    def awaited(self, prediction_id: str, timeout_s: float) -> Steps[Prediction]:
        """Wait for one prediction, whether it succeeds or not."""
        reply = yield from self._read(prediction_id, min(LONGEST_WAIT_S, timeout_s))
        state = state_of(reply.body)
        if isinstance(state, Unfinished):
            state = yield from self.wait(state, reply.sent_at, timeout_s)
        return state

    def cancel(self, prediction_id: str) -> Steps[Prediction | Unfinished]:
        """Cancel one prediction."""
        reply = yield from self._ask(Call("DELETE", prediction_path(prediction_id), repeatable=False))
        return state_of({"prediction_id": prediction_id, "status": "running", **(reply.body or {})})

    def predictions(self, query: Mapping[str, Any]) -> Steps[tuple[list[Prediction | Unfinished], str | None]]:
        """One page of predictions, and the cursor of the next."""
        reply = yield from self._ask(Call("GET", "/api/v1/predictions", {"limit": PAGE, **query}))
        return [state_of(each) for each in reply.body["items"]], reply.body["next_cursor"]

    def feedback(self, prediction_id: str, correct: bool | None, label: str | None) -> Steps[None]:
        """Say whether an answer was right."""
        body = {"correct": correct} if label is None else {"label": label}
        yield from self._ask(Call("POST", f"{prediction_path(prediction_id)}/feedback", body=body))

    def models(self) -> Steps[list[Model]]:
        """All models."""
        reply = yield from self._ask(Call("GET", "/api/v1/models"))
        return [Model.of(each) for each in reply.body["items"]]

    def model(self, name: str) -> Steps[Model]:
        """One model."""
        reply = yield from self._ask(Call("GET", f"/api/v1/models/{_part_of_path(name)}"))
        return Model.of(reply.body)

    def dead_letters(self, cursor: str | None) -> Steps[tuple[list[DeadLetter], str | None]]:
        """One page of dead letters, and the cursor of the next."""
        reply = yield from self._ask(Call("GET", "/api/v1/dead-letters", {"limit": PAGE, "cursor": cursor}))
        return [DeadLetter.of(each) for each in reply.body["items"]], reply.body["next_cursor"]

    def replay_dead_letter(self, dead_letter_id: str) -> Steps[Unfinished]:
        """Try a dead letter again."""
        path = f"/api/v1/dead-letters/{_part_of_path(dead_letter_id)}/replay"
        reply = yield from self._ask(Call("POST", path, repeatable=False))
        return Unfinished.of(reply.body)

    def delete_dead_letter(self, dead_letter_id: str) -> Steps[None]:
        """Delete a dead letter."""
        path = f"/api/v1/dead-letters/{_part_of_path(dead_letter_id)}"
        yield from self._ask(Call("DELETE", path, repeatable=False))

    def health(self) -> Steps[Mapping[str, Any]]:
        """Health of the server and its stores."""
        reply = yield from self._ask(Call("GET", "/health"))
        health: Mapping[str, Any] = reply.body
        return health

    def call(self, method: str, path: str, body: Any) -> Steps[Any]:
        """Anything else."""
        reply = yield from self._ask(Call(method, path, body=body, repeatable=method == "GET"))
        return reply.body

    def _read(self, prediction_id: str, wait_s: float) -> Steps[Reply]:
        return self._ask(Call("GET", prediction_path(prediction_id), {"wait": round(wait_s, 3)}, wait_s=wait_s))

    def _post(self, path: str, body: Mapping[str, Any], asked: Asked, key: str, timeout_s: float) -> Steps[Reply]:
        wait_s = min(LONGEST_WAIT_S, max(0.0, timeout_s))
        query = {"wait": round(wait_s, 3), "timeout": asked.get("expires_s")}
        return self._ask(Call("POST", path, query, body, {"Idempotency-Key": key}, wait_s))

    def _ask(self, call: Call) -> Steps[Reply]:
        return answered(call, self._patience)


def _left_of(
    error: InvalidRequest, model: str, indexes: Sequence[int], asked: Asked
) -> tuple[dict[int, Prediction], list[Sequence[int]]]:
    """What stands for the inputs that were refused, and what is to be sent again, in parts.

    Raises:
        InvalidRequest: it is not about single inputs.
    """
    wrong = refused_inputs(error)
    if not wrong and not too_much(error):
        raise error
    if not wrong and len(indexes) > 1:
        half = len(indexes) // 2
        return {}, [indexes[:half], indexes[half:]]
    why = wrong or {0: error.detail}
    found = {indexes[at]: refused_input(model, asked.get("version") or "", said) for at, said in why.items()}
    return found, [[each for each in indexes if each not in found]]


def prediction_path(prediction_id: str) -> str:
    """The path of a prediction."""
    return f"/api/v1/predictions/{_part_of_path(prediction_id)}"


def successful(prediction: Prediction) -> Prediction:
    """A prediction that succeeded.

    Raises:
        PredictionFailed: it did not.
    """
    if not prediction.succeeded:
        detail = prediction.error or f"it ended as {prediction.status}"
        raise PredictionFailed(prediction.prediction_id, prediction.status, detail, prediction=prediction)
    return prediction


def _part_of_path(name: str) -> str:
    """A name as one part of a path; an empty one, or dots, would be another path."""
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} is not a name or an id")
    return quote(name, safe="")
