"""One prediction there and back, and read again by its id: what `helm test` runs, in the gateway's image."""

import json
import os
import time
import urllib.error
import urllib.request

API = os.environ["API"]
MODEL, _, VERSION = os.environ["MODEL"].partition(":")
PATIENCE_S = 240


def ask(path: str, body: dict[str, object] | None = None) -> dict[str, object]:
    """The answer to a GET, or to a POST of `body`."""
    request = urllib.request.Request(API + path, json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=70) as answer:
        return json.load(answer)


def until(path: str, body: dict[str, object] | None, wanted: str) -> dict[str, object]:
    """Ask again until the prediction has this status: workers may be at zero, rows take a moment."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = ask(path, body)
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > end:
                raise SystemExit(f"{path}: {error.code} {error.read().decode(errors='replace')}") from error
        except OSError as error:
            if time.monotonic() > end:
                raise SystemExit(f"{API}{path}: {error}") from error
        else:
            if answer["status"] == wanted:
                return answer
            if time.monotonic() > end or answer["status"] != "queued":
                raise SystemExit(f"{path}: wanted {wanted}, got {answer}")
            path, body = f"/predictions/{answer['prediction_id']}?wait=30", None
        time.sleep(1)


text = "The harvest was good. Everybody in the village came to help, and the mill ran all night."
done = until("/predict?wait=30", {"model": MODEL, "version": VERSION, "text": text}, "succeeded")
stored = until(f"/predictions/{done['prediction_id']}", None, "succeeded")
print(f"ok: {MODEL} {VERSION}: {stored['prediction_id']}")
