"""One prediction all the way, into Postgres and back: what `helm test` runs, in the gateway's image."""

import json
import os
import time
import urllib.error
import urllib.request
import uuid

API = os.environ["API"]
MODEL, _, VERSION = os.environ["MODEL"].partition(":")
DEADLINE = time.monotonic() + float(os.environ.get("PATIENCE_S", "240"))
TEXT = "The harvest was good. Everybody in the village came to help, and the mill ran all night."


def ask(path, body=None):
    """The answer to a GET, or to a POST of `body`; None where it may come later."""
    request = urllib.request.Request(API + path, json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=70) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        why = f"{path} answered {error.code}: {error.read().decode(errors='replace')}"
        if error.code != 503 or time.monotonic() > DEADLINE:
            raise SystemExit(why) from None
    except OSError as error:
        if time.monotonic() > DEADLINE:
            raise SystemExit(f"{API}{path} was not answered: {error}") from None
    time.sleep(1)
    return None


def predict():
    """A finished prediction. Workers may be at zero: it may be queued for a while."""
    while not (answer := ask("/predict?wait=30", {"model": MODEL, "version": VERSION, "text": TEXT})):
        pass
    while answer["status"] == "queued":
        if time.monotonic() > DEADLINE:
            raise SystemExit(f"still queued: {answer}")
        answer = ask(f"/predictions/{answer['prediction_id']}?wait=30") or answer
    if answer["status"] != "succeeded":
        raise SystemExit(f"it ended otherwise: {answer}")
    return answer


def await_history(prediction_id):
    """Wait until Postgres has it: the history is read from there, and from below this id on it begins with ours."""
    above = uuid.UUID(int=uuid.UUID(prediction_id).int + 1)
    while True:
        page = ask(f"/predictions?limit=1&cursor={above}")
        if page and [each["prediction_id"] for each in page["items"]] == [prediction_id]:
            return
        if time.monotonic() > DEADLINE:
            raise SystemExit(f"{prediction_id} is not in the history: does the persister reach Postgres?")
        time.sleep(1)


made = predict()
await_history(made["prediction_id"])
print(f"ok: {MODEL} {VERSION}: {made['prediction_id']} was computed and stored")
