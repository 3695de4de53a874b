"""Clients that send one request after the other and never give up on one: each has a key, so that a repeated request is
the same prediction and the number of rows is known exactly."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.deployed.api import PREDICT, PREDICTIONS

_WAIT_S = 5
_PAUSE_S = 0.2
_TIMEOUT = aiohttp.ClientTimeout(total=20)
_FINISHED = "succeeded"
_NO_ANSWER = (aiohttp.ClientError, TimeoutError, ConnectionError)
# Each text is sent once; a label where there is one right answer.
_KINDS: tuple[tuple[str, str, str | None, int], ...] = (
    ("sentiment-analysis", "I love it, number {}.", "POSITIVE", 5),
    ("sentiment-analysis", "I hate it, number {}.", "NEGATIVE", 5),
    ("embeddings", "A few words about river {}.", None, 2),
    ("zero-shot-classification", "Rain and wind tomorrow, forecast {}.", "weather", 2),
    ("text-summarization", "The bridge {} is closed. Rust has weakened it. Repairs take weeks.", None, 2),
)
_OPTIONS = {"zero-shot-classification": {"labels": ["weather", "money"]}}


@dataclass(frozen=True)
class Asked:
    """One request: its model, and the label that its answer must have."""

    model: str
    label: str | None


@dataclass
class Ledger:
    """What was accepted, by prediction id, and what clients were told meanwhile."""

    accepted: dict[str, Asked] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def judge(self, body: dict[str, Any], asked: Asked) -> None:
        """Note an answer that is not the right one."""
        if body["status"] != _FINISHED:
            self.wrong.append(f"{body['prediction_id']} ended as {body}")
        elif asked.label and body["result"]["label"] != asked.label:
            self.wrong.append(f"{body['prediction_id']} should be {asked.label}: {body}")


def problems(accepted: Mapping[str, Asked], history: Mapping[str, int]) -> list[str]:
    """What is wrong with the history, by how often each id stands in it since the first of them was accepted."""
    wrong = [f"{each} is lost: it is not in the history" for each in accepted if not history.get(each)]
    wrong += [f"{each} is in the history {times} times" for each, times in history.items() if times > 1]
    extra = [each for each in history if each not in accepted and each > min(accepted)]
    return wrong + [f"{each} is in the history, and a client has another id for its request" for each in extra]


class Clients:
    """The clients of one run; nothing they send is sent by another run."""

    def __init__(self, url: str, number: int) -> None:
        self.ledger = Ledger()
        self._url = url
        self._number = number
        self._serial = itertools.count()
        self._run = uuid.uuid4().hex[:8]
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Send until told to stop, then ask for the end of all that was accepted."""
        async with aiohttp.ClientSession(self._url, timeout=_TIMEOUT) as self._session:
            await asyncio.gather(*(self._client() for _ in range(self._number)))
            for prediction_id, asked in self.ledger.accepted.items():
                await self._settle(prediction_id, asked)

    def stop(self) -> None:
        """Send nothing new."""
        self._stop.set()

    async def _client(self) -> None:
        while not self._stop.is_set():
            ((model, text, label, _),) = random.choices(_KINDS, [weight for *_, weight in _KINDS])
            key = f"{self._run}-{next(self._serial)}"
            body = {"model": model, "text": text.format(key), "options": _OPTIONS.get(model, {})}
            prediction_id = await self._until_accepted(body, key, Asked(model, label))
            self.ledger.accepted[prediction_id] = Asked(model, label)
            await asyncio.sleep(random.uniform(0, _PAUSE_S))

    async def _until_accepted(self, body: dict[str, Any], key: str, asked: Asked) -> str:
        while True:
            answer = await self._call("POST", f"{PREDICT}?wait={_WAIT_S}", json=body, headers={"Idempotency-Key": key})
            if answer is not None:
                status, answered = answer
                assert "prediction_id" in answered, f"POST was answered {status}: {answered}"
                if status == 200:
                    self.ledger.judge(answered, asked)
                return str(answered["prediction_id"])
            await asyncio.sleep(_PAUSE_S)

    async def _settle(self, prediction_id: str, asked: Asked) -> None:
        while True:
            answer = await self._call("GET", f"{PREDICTIONS}/{prediction_id}?wait={_WAIT_S}")
            if answer is not None and answer[0] == 404:
                self.ledger.wrong.append(f"{prediction_id} was accepted, and then not found")
                return
            if answer is not None and answer[1].get("status") not in (None, "queued", "running"):
                self.ledger.judge(answer[1], asked)
                return
            await asyncio.sleep(_PAUSE_S)

    async def _call(self, method: str, path: str, **request: Any) -> tuple[int, dict[str, Any]] | None:
        """None where there was no answer, or a 503: then nothing was promised."""
        try:
            async with self._session.request(method, path, **request) as answer:
                body = await answer.json(content_type=None)
        except _NO_ANSWER as error:
            self.ledger.answers[f"{method} {type(error).__name__}"] += 1
            return None
        self.ledger.answers[f"{method} {answer.status}"] += 1
        return None if answer.status == 503 else (answer.status, body)
