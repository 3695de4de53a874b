"""A client that expects a status and returns the body."""

from __future__ import annotations

from collections import Counter
from typing import Any

import aiohttp

PREDICT, BATCH, PREDICTIONS = "/api/v1/predict", "/api/v1/predict/batch", "/api/v1/predictions"

Body = dict[str, Any]


class Api:
    """The API of one deployment."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(self, status: int, method: str, path: str, **request: Any) -> Body:
        """Call it; an error must be a problem document."""
        async with self._session.request(method, path, **request) as answer:
            text = await answer.text()
            assert answer.status == status, f"{method} {path}: {answer.status} {text}"
            body: Body = await answer.json(content_type=None)
            if status >= 400:
                assert answer.content_type == "application/problem+json"
                assert {"type", "title", "status", "detail"} <= set(body) and body["status"] == status
            return body

    async def text(self, path: str) -> str:
        """A page that is no JSON."""
        async with self._session.get(path) as answer:
            assert answer.status == 200, path
            return await answer.text()

    async def predict(self, model: str, text: str, **more: Any) -> Body:
        """A finished prediction."""
        return await self.call(200, "POST", f"{PREDICT}?wait=60", json={"model": model, "text": text, **more})

    async def history(self, model: str, back_to: str) -> Counter[str]:
        """How often each id stands in a model's history, from the newest back to an id, over all its pages."""
        found: Counter[str] = Counter()
        cursor: str | None = None
        while True:
            query = {"model": model, "limit": "100", **({"cursor": cursor} if cursor else {})}
            page = await self.call(200, "GET", PREDICTIONS, params=query)
            found.update(item["prediction_id"] for item in page["items"])
            cursor = page["next_cursor"]
            if cursor is None or cursor < back_to:
                return found
