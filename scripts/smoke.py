"""A smoke test of a running Millstream: `python3 scripts/smoke.py http://localhost:8000`, behind `make smoke URL=…`.

One prediction of each model version goes all the way, into Postgres and back, and a mistake is explained. It stops at
the first thing that is wrong; the exit code is 1 then. It leaves its predictions in the history. `helm test` runs this
same file in the gateway's image, so it needs only the standard library. What models answer, and all else that the API
promises, is tested by `make e2e`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

REQUEST_TIMEOUT_S = 70.0  # longer than the longest wait for an answer
PAUSE_S = 0.5
TEXT = "The harvest was good. Everybody in the village came to help, and the mill ran all night."
ANY_TEXT = {  # tasks that answer whatever text they are sent
    "feature-extraction",
    "summarization",
    "text-classification",
    "text-generation",
    "token-classification",
    "zero-shot-classification",
}
OPTIONS = {"zero-shot-classification": {"labels": ["farming", "politics"]}}

Body = dict[str, Any]


class Wrong(Exception):
    """Something is not as it should be; the message says what."""


class AsksWho(Wrong):
    """The gateway wants to know who asks."""


def who_asks() -> dict[str, str]:
    """The header that says who asks, from MILLSTREAM_TOKEN; none if that is not set."""
    token = os.environ.get("MILLSTREAM_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


class Deployment:
    """One deployment, by the address of its gateway, and until when it may fail."""

    def __init__(self, url: str, patience_s: float) -> None:
        self._url = url.rstrip("/")
        self._deadline = time.monotonic() + patience_s

    def call(self, method: str, path: str, body: Body | None = None) -> tuple[int, Body]:
        """The status and the JSON of an answer.

        Raises:
            Wrong: there is no answer, or it is not JSON.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **who_asks()}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            try:
                with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:  # nosec B310
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)
        except (OSError, ValueError) as error:
            raise Wrong(f"{method} {path} was not answered: {error}") from None

    def until(self, wanted: str, found: Iterator[tuple[bool, object]]) -> Any:
        """Look again until it is as wanted; the answer is what was found then.

        Raises:
            Wrong: it is not before the deadline; the message holds what was found last.
        """
        for good, what in found:
            if good:
                return what
            if time.monotonic() > self._deadline:
                raise Wrong(f"{wanted}; it said: {what}")
            time.sleep(PAUSE_S)


def healthy(deployment: Deployment) -> None:
    """Both stores answer. (Workers may be scaled to zero: a prediction then waits for one.)"""

    def looks() -> Iterator[tuple[bool, object]]:
        while True:
            try:
                status, body = deployment.call("GET", "/health")
                yield status == 200 and body["postgres"] == "ok", f"{status} {body}"
            except Wrong as wrong:
                yield False, wrong

    deployment.until("/health should be 200 with Postgres ok", looks())


def versions(deployment: Deployment, only: str | None) -> Iterator[Body]:
    """What to ask: every active version of a model that takes any text, or the one named as `model:version`."""
    status, listed = deployment.call("GET", "/api/v1/models")
    if status == 401:
        how = "set MILLSTREAM_TOKEN to a token or an API key with the scopes predict and read"
        raise AsksWho(f"the gateway wants to know who asks ({listed.get('detail')}): {how}")
    if status != 200:
        raise Wrong(f"the list of models is 200, not {status}: {listed}")
    for model in listed["items"]:
        for version in model["versions"]:
            wanted = version["is_active"] and model["task"] in ANY_TEXT
            if wanted if only is None else only == f"{model['name']}:{version['version']}":
                options = OPTIONS.get(model["task"])
                named = {"model": model["name"], "version": version["version"]}
                sent = {"text": TEXT} if model["task"] in ANY_TEXT else example(deployment, **named)
                yield {**named, **sent, **({"options": options} if options else {})}


def example(deployment: Deployment, model: str, version: str) -> Body:
    """An input that the version names itself; a text if it names none."""
    _, found = deployment.call("GET", f"/api/v1/models/{model}")
    schemas = next((each.get("schemas") or {} for each in found["versions"] if each["version"] == version), {})
    return {"input": schemas["example"]} if "example" in schemas else {"text": TEXT}


def predicted(deployment: Deployment, asked: Body) -> str:
    """One prediction succeeds; the answer is its id."""

    def looks() -> Iterator[tuple[bool, object]]:
        status, body = deployment.call("POST", "/api/v1/predict?wait=30", asked)
        while True:
            if status not in (200, 202, 503) or body.get("status") in ("failed", "expired"):
                raise Wrong(f"{asked['model']}:{asked['version']} answered {status}: {body}")
            yield body.get("status") == "succeeded", body
            if "prediction_id" in body:
                status, body = deployment.call("GET", f"/api/v1/predictions/{body['prediction_id']}?wait=30")
            else:
                status, body = deployment.call("POST", "/api/v1/predict?wait=30", asked)

    found: Body = deployment.until(f"{asked['model']}:{asked['version']} should succeed", looks())
    return str(found["prediction_id"])


def stored(deployment: Deployment, prediction_id: str) -> None:
    """A prediction is in the history, which is read from Postgres: below the next id it begins with this one."""
    cursor = uuid.UUID(int=uuid.UUID(prediction_id).int + 1)

    def looks() -> Iterator[tuple[bool, object]]:
        while True:
            status, page = deployment.call("GET", f"/api/v1/predictions?limit=1&cursor={cursor}")
            yield status == 200 and [each["prediction_id"] for each in page["items"]] == [prediction_id], page

    deployment.until(f"{prediction_id} should be in the history (does the persister reach Postgres?)", looks())


def mistakes_explained(deployment: Deployment) -> None:
    """What is wrong with a request is said as a problem document."""
    status, problem = deployment.call("POST", "/api/v1/predict", {"model": "nope", "text": "x"})
    if status != 404 or "nope" not in problem.get("detail", ""):
        raise Wrong(f"an unknown model is a 404 that names it, not {status}: {problem}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; the exit code says whether all held."""
    parser = argparse.ArgumentParser(prog="smoke.py", description="Smoke test of a running Millstream, over HTTP.")
    parser.add_argument("url", help="where the gateway is, such as http://localhost:8000")
    parser.add_argument("--model", metavar="MODEL:VERSION", help="ask only this one (default: all active versions)")
    parser.add_argument(
        "--or-asks", action="store_true", help="without MILLSTREAM_TOKEN, it is enough that the gateway asks for one"
    )
    parser.add_argument("--patience", type=float, default=120, metavar="S", help="seconds to succeed (default: 120)")
    given = parser.parse_args(arguments)
    deployment = Deployment(given.url, given.patience)
    try:
        healthy(deployment)
        asked = list(versions(deployment, given.model))
        if not asked:
            raise Wrong(f"no model to ask: {given.model or 'none that takes any text'} is not served")
        for each in asked:
            prediction_id = predicted(deployment, each)
            stored(deployment, prediction_id)
            print(f"ok: {each['model']} {each['version']}: {prediction_id} was computed and stored", flush=True)
        mistakes_explained(deployment)
    except AsksWho as asks:
        if given.or_asks and not who_asks():
            print("ok: both stores answer, and the gateway wants to know who asks (no MILLSTREAM_TOKEN is given)")
            return 0
        print(f"smoke test of {given.url} failed: {asks}", file=sys.stderr)
        return 1
    except Wrong as wrong:
        print(f"smoke test of {given.url} failed: {wrong}", file=sys.stderr)
        return 1
    print("ok: a mistake is explained")
    return 0


if __name__ == "__main__":
    sys.exit(main())
