"""A smoke test of a running Millstream: `python3 scripts/smoke.py http://localhost:8000`, behind `make smoke URL=…`.

Asks over HTTP alone what a first user would: is it healthy, does each shipped model answer sense, is an answer stored
and found again, is a mistake explained. Stops at the first thing that is wrong; the exit code is 1 then. It leaves its
predictions in the history. Only the standard library, so that a deployment script can run it anywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

REQUEST_TIMEOUT_S = 70.0  # above the longest wait for an answer
STORED_WITHIN_S = 30.0
PAUSE_S = 0.5
ARTICLE = (
    "The Harrow Bridge will close to all traffic on 4 May. The council says that rust has weakened three cables. "
    "Repairs are expected to take eleven weeks and to cost 2.4 million pounds. Buses will cross at Mill Lane. "
    "Shopkeepers on both banks fear for their summer trade. A ferry for pedestrians starts on the same day."
)

Body = dict[str, Any]


class Wrong(Exception):
    """Something is not as it should be; the message says what."""


class Deployment:
    """One deployment, by the address of its gateway."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def call(self, method: str, path: str, body: Body | None = None) -> tuple[int, Body]:
        """The status and the JSON of an answer.

        Raises:
            Wrong: there is no answer, or it is not JSON.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:  # nosec B310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, _json_of(error)
        except (OSError, ValueError) as error:
            raise Wrong(f"{method} {path} was not answered: {error}") from None

    def predict(self, model: str, text: str, **more: Any) -> Body:
        """A finished prediction.

        Raises:
            Wrong: it did not succeed.
        """
        status, body = self.call("POST", "/api/v1/predict?wait=60", {"model": model, "text": text, **more})
        if status != 200:
            raise Wrong(f"{model} answered {status}: {body}")
        return body


def _json_of(error: urllib.error.HTTPError) -> Body:
    try:
        body: Body = json.load(error)
        return body
    except ValueError:
        raise Wrong(f"{error.url} answered {error.code} with no JSON") from None


def expect(condition: bool, what: str) -> None:
    """Hold a condition.

    Raises:
        Wrong: it does not hold.
    """
    if not condition:
        raise Wrong(what)


def eventually(condition: Callable[[], bool], within_s: float, what: Callable[[], str]) -> None:
    """Ask again until a condition holds.

    Raises:
        Wrong: it does not in time.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        expect(time.monotonic() < deadline, f"not within {within_s:.0f} s: {what()}")
        time.sleep(PAUSE_S)


def healthy(deployment: Deployment, patience_s: float) -> None:
    """It is ready, both stores answer, and every active version has a worker."""
    said: list[str] = ["nothing"]

    def is_well() -> bool:
        try:
            status, health = deployment.call("GET", "/health")
        except Wrong as wrong:
            said.append(str(wrong))
            return False
        said.append(f"{status} {health}")
        return status == 200 and health["status"] == "ok" and not health["unserved"]

    eventually(is_well, patience_s, lambda: f"/health is 200, ok, with no version unserved; it said: {said[-1]}")


def sentiment(deployment: Deployment) -> None:
    """The first request of the README, and the default version on its opposite."""
    good = deployment.predict("sentiment-analysis", "This is great!", version="1.0.0")
    expect(good["result"]["label"] == "POSITIVE" and good["confidence"] >= 0.9, f"a great thing is positive: {good}")
    bad = deployment.predict("sentiment-analysis", "A dull, lifeless waste of two hours.")
    expect(bad["result"]["label"] == "NEGATIVE", f"a waste is negative: {bad}")


def zero_shot(deployment: Deployment) -> None:
    """The right one of three labels."""
    labels = {"labels": ["sport", "politics", "cooking"]}
    got = deployment.predict("zero-shot-classification", "The striker scored twice in the final.", options=labels)
    expect(got["result"]["label"] == "sport", f"a striker is about sport: {got}")


def embeddings(deployment: Deployment) -> None:
    """A unit vector, nearer to that of a like text than to another's."""
    like, other, text = (
        deployment.predict("embeddings", each)["result"]["embedding"]
        for each in ("A cat sleeps on the sofa.", "Interest rates rose again.", "A kitten naps on the couch.")
    )
    expect(len(text) == 384, f"a vector has 384 numbers, not {len(text)}")
    near, far = (sum(a * b for a, b in zip(text, each, strict=True)) for each in (like, other))
    expect(near > far + 0.2, f"cosine {near:.2f} of like texts is well above {far:.2f} of others")


def summaries(deployment: Deployment) -> None:
    """One summary picks sentences of the text, the other is written."""
    picked = deployment.predict("text-summarization", ARTICLE, version="1.0.0")["result"]["summary"]
    expect(
        picked.split(". ")[0] in ARTICLE and len(picked) < len(ARTICLE), f"a summary is part of its text: {picked!r}"
    )
    written = deployment.predict("text-summarization", ARTICLE, version="2.0.0", options={"max_length": 24})
    expect(bool(written["result"]["summary"]), "a written summary has words")


def stored(deployment: Deployment) -> None:
    """A prediction is found by its id with its input, and then in the history, which is Postgres's."""
    made = deployment.predict("sentiment-analysis", "Kept for good.")
    path = f"/api/v1/predictions/{made['prediction_id']}"
    status, found = deployment.call("GET", path)
    expect(
        status == 200 and found == {**made, "input": {"text": "Kept for good."}},
        f"{path} is what was answered: {found}",
    )

    def in_history() -> bool:
        _, page = deployment.call("GET", "/api/v1/predictions?model=sentiment-analysis&limit=100")
        return any(each["prediction_id"] == made["prediction_id"] for each in page["items"])

    eventually(in_history, STORED_WITHIN_S, lambda: f"{made['prediction_id']} is in the history")


def mistakes(deployment: Deployment) -> None:
    """What is wrong with a request is said as a problem document."""
    status, problem = deployment.call("POST", "/api/v1/predict", {"model": "nope", "text": "x"})
    expect(status == 404 and "nope" in problem.get("detail", ""), f"an unknown model is a 404: {status} {problem}")
    status, problem = deployment.call("POST", "/api/v1/predict", {"model": "sentiment-analysis", "text": ""})
    expect(status == 422 and bool(problem.get("errors")), f"an empty text is a 422 with errors: {status} {problem}")


CHECKS = (sentiment, zero_shot, embeddings, summaries, stored, mistakes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; the exit code says whether all held."""
    parser = argparse.ArgumentParser(prog="smoke.py", description="Smoke test of a running Millstream, over HTTP.")
    parser.add_argument("url", help="where the gateway is, such as http://localhost:8000")
    parser.add_argument(
        "--patience", type=float, default=120, metavar="S", help="seconds to become healthy (default: 120)"
    )
    given = parser.parse_args(arguments)
    deployment = Deployment(given.url)
    try:
        for check in (lambda each: healthy(each, given.patience), *CHECKS):
            started = time.monotonic()
            check(deployment)
            name = getattr(check, "__name__", "").replace("<lambda>", "healthy").replace("_", " ")
            print(f"ok  {name:<12} {time.monotonic() - started:5.1f} s", flush=True)
    except Wrong as wrong:
        print(f"smoke test of {given.url} failed: {wrong}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
