"""The clients: a closed loop over all gateways of everything the API offers, writing down what they are told.

A client that gets no answer, or 503, goes on: nothing was promised. With an `Idempotency-Key` it tries again, and then
its text must still be stored once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from tests.chaos.control import credentials
from tests.chaos.ledger import Asked, Ledger, Told

PREDICT, BATCH, PREDICTIONS = "/api/v1/predict", "/api/v1/predict/batch", "/api/v1/predictions"
_VERSIONS = (("echo", "1.0.0"), ("echo", "2.0.0"), ("noop", "1.0.0"))
_WAIT = {"wait": "8"}
_TRIES = 6
_PAUSE_S = 0.1
_TIMEOUT = aiohttp.ClientTimeout(total=20)
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, ConnectionError)
_REQUESTS = (
    ("predict", 40),
    ("predict_later", 20),
    ("batch", 15),
    ("failing", 6),
    ("short", 6),
    ("with_key", 13),
    ("by_experiment", 10),
)

Body = dict[str, Any]


class Client:
    """One client. Its requests are its own in every respect: no text is ever sent by another."""

    def __init__(self, number: int, seed: int, gateways: Sequence[str], ledger: Ledger) -> None:
        self._name = f"c{number}"
        self._chance = random.Random(f"{seed} {number}")
        self._gateways = gateways
        self._ledger = ledger
        self._serial = 0
        self._mine: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Send one request after the other until told to stop."""
        names, weights = zip(*_REQUESTS, strict=True)
        async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=credentials(self._name)) as self._session:
            while not stop.is_set():
                (name,) = self._chance.choices(names, weights)
                await getattr(self, f"_{name}")()
                if self._mine and self._chance.random() < 0.4:
                    await self._look(self._chance.choice(self._mine[-200:]))
                await asyncio.sleep(_PAUSE_S * self._chance.uniform(0.2, 1.8))

    async def _predict(self) -> None:
        await self._post_one(self._ask(), _WAIT)

    async def _predict_later(self) -> None:
        asked = self._ask()
        prediction_id = await self._post_one(asked, {"wait": "0"})
        if prediction_id:
            await self._look(prediction_id, self._chance.choice(("0", "0.5", "5")))

    async def _failing(self) -> None:
        await self._post_one(self._ask("raise", model="echo"), _WAIT)

    async def _by_experiment(self) -> None:
        """Without a version: the experiment chooses one of the two, which answer the same."""
        await self._post_one(self._ask(model="echo", version=None), _WAIT)

    async def _short(self) -> None:
        timeout = f"{self._chance.uniform(0.02, 0.5):.3f}"
        await self._post_one(self._ask(may_expire=True), {**_WAIT, "timeout": timeout})

    async def _batch(self) -> None:
        first = self._ask()
        many = [first]
        for _ in range(self._chance.randrange(1, 8)):
            begins = "raise" if first.model == "echo" and self._chance.random() < 0.1 else ""
            many.append(self._ask(begins, model=first.model, version=first.version))
        body = {"model": first.model, "version": first.version, "texts": [each.text for each in many]}
        if self._chance.random() < 0.5:
            body["priority"] = "batch"
        answer = await self._call("POST", BATCH, params=self._chance.choice((_WAIT, {"wait": "0"})), json=body)
        if answer is None:
            return
        status, answered = answer
        if status not in (200, 202):
            self._surprise(f"POST {BATCH}", status, answered)
            return
        for asked, item in zip(many, answered["items"], strict=True):
            self._accept(asked, item)

    async def _with_key(self) -> None:
        """Try again with the same key, at another gateway perhaps, until there is an answer."""
        asked = self._ask()
        for _ in range(_TRIES):
            headers = {"Idempotency-Key": f"{self._name}-{self._serial}"}
            if await self._post_one(asked, _WAIT, headers):
                return
            await asyncio.sleep(_PAUSE_S * 5)

    def _ask(self, begins: str = "", model: str = "", version: str | None = "", *, may_expire: bool = False) -> Asked:
        """Something new. Without a model, or with a version of '', one is drawn; with None none is asked for."""
        self._serial += 1
        choices = [each for each in _VERSIONS if model in ("", each[0])]
        name, drawn = self._chance.choice(choices)
        text = f"{begins} {self._name} n{self._serial} Grüße 👋".strip()
        asked = Asked(text, model or name, "" if version is None else version or drawn, may_expire)
        self._ledger.send(asked)
        return asked

    async def _post_one(
        self, asked: Asked, params: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> str | None:
        """Ask for one prediction; the answer is its id, where it was given."""
        body = {"model": asked.model, "text": asked.text} | ({"version": asked.version} if asked.version else {})
        answer = await self._call("POST", PREDICT, params=params, json=body, headers=headers)
        if answer is None:
            return None
        status, answered = answer
        if status not in (200, 202, 500, 504) or "prediction_id" not in answered:
            self._surprise(f"POST {PREDICT}", status, answered)
            return None
        if status in (500, 504):  # a problem: its detail is the prediction's error
            answered = {**answered, "status": "failed" if status == 500 else "expired", "error": answered["detail"]}
        self._accept(asked, answered)
        return str(answered["prediction_id"])

    def _accept(self, asked: Asked, body: Body) -> None:
        prediction_id = str(body["prediction_id"])
        self._ledger.accept(prediction_id, asked)
        self._ledger.tell(prediction_id, told(body))
        self._mine.append(prediction_id)

    async def _look(self, prediction_id: str, wait: str = "0") -> None:
        answer = await self._call("GET", f"{PREDICTIONS}/{prediction_id}", params={"wait": wait})
        if answer is None:
            return
        status, body = answer
        if status == 200:
            self._ledger.tell(prediction_id, told(body))
        elif status == 404:
            self._ledger.not_found.append(prediction_id)
        else:
            self._surprise(f"GET {PREDICTIONS}", status, body)

    async def _call(self, method: str, path: str, **request: Any) -> tuple[int, Body] | None:
        """Call any gateway; None where it gave no answer, or said 503."""
        url = self._chance.choice(self._gateways)
        try:
            async with self._session.request(method, url + path, **request) as answer:
                body = await answer.json(content_type=None)
        except _NO_ANSWER as error:
            self._ledger.answers[f"{method} {type(error).__name__}"] += 1
            return None
        self._ledger.answers[f"{method} {answer.status}"] += 1
        return None if answer.status == 503 else (answer.status, body)

    def _surprise(self, call: str, status: int, body: Body) -> None:
        self._ledger.surprises.append(f"{call} was answered {status}: {body}")


def told(body: Body) -> Told:
    """What a body of the API says about a prediction."""
    return Told(str(body["status"]), body.get("result"), str(body.get("error") or ""))
