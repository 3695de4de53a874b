"""Users who ask for predictions, against any deployment: for locust, which is installed apart from this project.

A user asks for one text and waits for its answer, again and again. An answer that is not there yet (202) and a refusal
(429 by a limit, 503 by a full queue) are no failures: each is a line of its own, and who is refused comes back after
`Retry-After`. docs/PERFORMANCE.md has the commands.
"""

from __future__ import annotations

import random
import time
from http import HTTPStatus

from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser

NO_FAILURES = {
    HTTPStatus.OK: "200 answered",
    HTTPStatus.ACCEPTED: "202 not yet",
    HTTPStatus.TOO_MANY_REQUESTS: "429 limited",
    HTTPStatus.SERVICE_UNAVAILABLE: "503 refused",
}
LONGEST_PAUSE_S = 60.0


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """What is asked, beside locust's own options: `--host` is where."""
    parser.add_argument("--model", env_var="MILLSTREAM_MODEL", default="sentiment-analysis", help="its name")
    parser.add_argument(
        "--text",
        env_var="MILLSTREAM_TEXT",
        default="This product is great, I would buy {n} of them",
        help="{n} becomes another number in each request, so that no cache answers",
    )
    parser.add_argument("--wait-s", env_var="MILLSTREAM_WAIT_S", type=int, default=30, help="for an answer, up to 60")
    parser.add_argument(
        "--pause-s", env_var="MILLSTREAM_PAUSE_S", type=float, default=1, help="between two, on average"
    )
    parser.add_argument(
        "--token", env_var="MILLSTREAM_TOKEN", default="", is_secret=True, help="a bearer token or API key"
    )


class Caller(FastHttpUser):
    """One of those who ask."""

    def wait_time(self) -> float:
        """Before the next text, in seconds: half to one and a half times what is set."""
        pause_s: float = self.environment.parsed_options.pause_s
        return random.uniform(0.5, 1.5) * pause_s

    @task
    def predict(self) -> None:
        """Ask for one text."""
        options = self.environment.parsed_options
        body = {"model": options.model, "text": options.text.replace("{n}", str(random.randrange(10**9)))}
        headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
        path = f"/api/v1/predict?wait={options.wait_s}"
        with self.client.post(path, json=body, headers=headers, name="predict", catch_response=True) as answer:
            if told := NO_FAILURES.get(answer.status_code):
                answer.request_meta["name"] = told
                answer.success()
            else:
                answer.failure(f"{answer.status_code} {(answer.text or '')[:200]}")
        if "retry-after" in (answer.headers or {}):
            time.sleep(
                min(float(answer.headers["retry-after"]), LONGEST_PAUSE_S)
            )  # of this user alone: locust patches it
