"""The console in a browser, with a real pipeline behind it."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from redis import Redis

from migrations.__main__ import run as run_migrations
from migrations.settings import MigrateSettings
from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from tests.access import ROLE_PASSWORDS
from tests.browser import chromium, grave_findings, needs_chromium, page_of
from tests.conftest import FIXTURES, cloned_database
from tests.e2e.conftest import Start, services
from tests.processes import Service, wait_until
from tests.tokens import AUDIENCE, ISSUER, token

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

SECRET = b"a secret of thirty-two characters"
HOSTILE = """<img src=x onerror=alert(1)> '"$(touch /tmp/x)`id`\\ \u202e =1+1 {{7*7}}"""
VIEWS = ("overview", "predictions", "models", "models/mood", "experiments", "experiments/mood", "dead-letters")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.fixture(scope="module")
def start(
    redis_server: RedisServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Start services on stores of this module's own; a worker serves all models but one."""
    catalogue = FIXTURES / "console.toml"
    with cloned_database(postgres_server) as url:
        run_migrations(MigrateSettings(database_url=url, model_catalogue=catalogue, **ROLE_PASSWORDS), 0)
        stores = {"REDIS_URL": redis_server.url, "DATABASE_URL": url, "KEY_PREFIX": "console:"}
        common = {"MODEL_CATALOGUE": str(catalogue), "MAX_DELIVERIES": "1", "AUTH": "off", "LOG_LEVEL": "WARNING"}
        with services({**stores, **common}, tmp_path_factory.mktemp("console")) as start_service:
            yield start_service


@pytest.fixture(scope="module")
def gateway(start: Start) -> Service:
    """A gateway, with a worker and a persister behind it."""
    worker = start("inference_worker", ready=False, WORKER_MODELS="mood,echo,trees")
    persister = start("persister", ready=False, PERSIST_MAX_WAIT_MS="0")
    gateway = start("gateway")
    for each in (worker, persister):
        each.wait_ready()
    return gateway


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, gateway: Service) -> Iterator[Page]:
    """A page of its own, in which nothing goes wrong."""
    with page_of(browser, base_url=gateway.url, permissions=["clipboard-read", "clipboard-write"]) as opened:
        yield opened


def ask(gateway: Service, method: str, path: str, body: object = None, **headers: str) -> Any:
    """Call the API as another client does."""
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{gateway.url}{path}", sent, {"Content-Type": "application/json", **headers}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return json.loads(error.read())


def predict(gateway: Service, model: str, text: str) -> str:
    body = ask(gateway, "POST", "/api/v1/predict?wait=20", {"model": model, "text": text})
    return str(body["prediction_id"])


def open_view(page: Page, view: str) -> None:
    """Open a view, and wait until it shows what it has loaded."""
    page.goto(f"/#/{view}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("Loading …", exact=True)).to_have_count(0)


# --- trying a model ------------------------------------------------------------------------------------------------


def test_a_model_is_tried_and_its_prediction_is_shown_and_run_again(page: Page) -> None:
    open_view(page, "overview")
    page.get_by_label("Model", exact=True).select_option("mood")
    page.get_by_label("Text").fill("What a day!")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".verdict")).to_have_text("POSITIVE")
    expect(page.locator(".bars li").first).to_contain_text("90 %")
    page.get_by_role("link", name="This prediction").click()
    expect(page).to_have_title("Prediction · Millstream")
    expect(page.locator(".timeline li.done")).to_have_count(4)
    expect(page.locator("blockquote")).to_have_text("What a day!")
    expect(page.locator(".facts div").filter(has_text="Worker").locator("dd")).not_to_be_empty()
    before = page.url
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(lambda url: url != before)
    expect(page.locator(".verdict")).to_have_text("POSITIVE")


def test_what_is_copied_runs_and_asks_for_the_same(page: Page, gateway: Service, tmp_path: Path) -> None:
    open_view(page, "overview")
    page.get_by_label("Model", exact=True).select_option("echo")
    text = HOSTILE + "\n'second' line"
    page.get_by_label("Text").fill(text)
    for name, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        page.get_by_role("button", name=f"Copy as {name}").click()
        expect(page.locator(".copy").filter(has_text=name)).to_contain_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        done = subprocess.run([*command, copied], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        found = re.search("prediction_id.: ?.([0-9a-f-]{36})", done.stdout)
        assert found, (copied, done)
        assert ask(gateway, "GET", f"/api/v1/predictions/{found[1]}")["input"] == {"text": text}
    assert not list(tmp_path.iterdir()) and not Path("/tmp/x").exists()


def test_an_object_is_asked_for_by_its_fields_and_what_is_wrong_stands_at_its_field(page: Page) -> None:
    open_view(page, "overview")
    page.get_by_label("Model", exact=True).select_option("trees")
    length = page.get_by_label("length (needed)")
    expect(length).to_have_value("2.5")
    expect(page.get_by_label("branches")).to_have_value(re.compile('"length": 1'))
    page.get_by_label("branches").fill("[")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_text("branches is not JSON")).to_be_visible()
    page.get_by_label("branches").fill('[{"length": 1}, {"length": 2}]')
    length.fill("101")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(length).to_have_attribute("aria-invalid", "true")
    length.fill("99")
    page.get_by_text("Options").click()
    page.get_by_label("factor").fill("10")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".answer")).to_contain_text('"branches": 20')


def test_texts_of_others_are_shown_and_never_run(page: Page, gateway: Service) -> None:
    prediction_id = predict(gateway, "echo", HOSTILE)
    for view in ("overview", "predictions", f"predictions/{prediction_id}"):
        open_view(page, view)
        expect(page.get_by_text("<img src=x onerror=alert(1)>").first).to_be_visible()
        assert page.locator("main img").count() == 0
    open_view(page, "models/echo")
    expect(page.get_by_text("<b>some</b> texts")).to_be_visible()
    for strange in (
        "predictions/..%2F..%2F",
        "models/%",
        "models/__proto__",
        "nothing",
        "predictions/%00?status=x&limit=y",
    ):
        page.goto(f"/#/{strange}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()


# --- lists ---------------------------------------------------------------------------------------------------------


def test_filters_and_pages_stand_in_the_address(page: Page, gateway: Service) -> None:
    for number in range(27):
        predict(gateway, "mood", f"number {number}")
    open_view(page, "predictions")
    page.get_by_label("Model", exact=True).select_option("mood")
    page.get_by_label("Status").select_option("succeeded")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile(r"#/predictions\?model=mood&status=succeeded$"))
    first = page.locator("tbody a").first.get_attribute("href")
    page.get_by_role("link", name="Older").click()
    expect(page).to_have_url(re.compile("cursor="))
    expect(page.locator(f'tbody a[href="{first}"]')).to_have_count(0)
    page.reload()
    expect(page.get_by_label("Status")).to_have_value("succeeded")
    page.get_by_role("link", name="Newest").click()
    expect(page.locator("tbody a").first).to_have_attribute("href", str(first))


def test_what_is_filtered_is_exported(page: Page, gateway: Service) -> None:
    prediction_id = predict(gateway, "echo", "=cmd|' /C calc'!A0")
    open_view(page, "predictions?model=echo")
    saved: dict[str, str] = {}
    for kind in ("CSV", "JSONL"):
        with page.expect_download() as started:
            page.get_by_role("button", name=f"Export {kind}").click()
        saved[kind] = Path(started.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(saved["CSV"])))
    lines = [json.loads(line) for line in saved["JSONL"].splitlines()]
    assert [each["prediction_id"] for each in rows] == [each["prediction_id"] for each in lines]
    assert {each["model"] for each in rows} == {"echo"} and rows[0]["prediction_id"] == prediction_id
    assert json.loads(rows[0]["result"]) == lines[0]["result"]


def test_a_field_of_csv_is_no_formula(page: Page) -> None:
    open_view(page, "models")
    hostile = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "\uff1d1",
        '"=1"',
        "|calc",
        "plain",
        'a "b"',
        1,
        None,
    ]
    script = """async (values) => {
      const main = document.querySelector('script[src$="main.js"]').src;
      const { csvField } = await import(main.replace("main.js", "format.js"));
      return values.map(csvField);
    }"""
    fields = page.evaluate(script, hostile)
    read = [next(csv.reader(io.StringIO(each, newline="")), [""])[0] if each else "" for each in fields]
    assert all(each.startswith("'") for each in read[:8]) and read[9] == "'|calc"
    assert [read[8], *read[10:]] == ['"=1"', "plain", 'a "b"', "1", ""]


def test_dead_letters_are_tried_again_and_deleted_in_bulk(page: Page, gateway: Service) -> None:
    for number in range(2):
        predict(gateway, "echo", f"kill {number}")
    wait_until(lambda: len(ask(gateway, "GET", "/api/v1/dead-letters")["items"]) == 2, "both are dead letters")
    open_view(page, "dead-letters")
    page.get_by_label("All of this page").check()
    page.get_by_role("button", name="Try again (2)").click()
    expect(page.get_by_text("2 tried again.")).to_be_visible()
    wait_until(lambda: len(ask(gateway, "GET", "/api/v1/dead-letters")["items"]) == 2, "they were given up on again")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("All of this page").check()
    page.get_by_role("button", name="Delete (2)").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("2 deleted.")).to_be_visible()
    expect(page.get_by_text("nothing was given up on")).to_be_visible()


# --- models and experiments ----------------------------------------------------------------------------------------


def test_an_experiment_is_started_shown_and_stopped(page: Page, gateway: Service) -> None:
    open_view(page, "experiments/mood")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("It runs.")).to_be_visible()
    predict(gateway, "mood", "with an arm")
    open_view(page, "experiments")
    expect(page.get_by_role("row").filter(has_text="mood")).to_contain_text("1.0.0 (1.0.0), 2.0.0 (2.0.0)")
    open_view(page, "experiments/mood")
    expect(page.get_by_role("columnheader", name="Subjects")).to_be_visible()
    page.get_by_role("button", name="Stop the experiment").click()
    page.get_by_role("button", name="Stop it").click()
    expect(page.get_by_text("It was stopped.")).to_be_visible()
    assert ask(gateway, "GET", "/api/v1/models/mood/experiment")["stopped_at"]


def test_a_version_is_shown_and_changed_unless_another_was_quicker(
    page: Page, gateway: Service, redis_server: RedisServer
) -> None:
    with Redis.from_url(redis_server.url) as operator:
        operator.set("console:drift:mood:2.0.0", '{"label":0.31,"confidence":0.04}')  # as the persister tells it
    open_view(page, "models/mood")
    card = page.locator("section.card").filter(has=page.get_by_role("heading", name="2.0.0", exact=True))
    expect(card).to_contain_text(re.compile(r"Drift of label\s*0\.31\s*moved\s*Drift of confidence\s*0\.04\s*steady"))
    card.get_by_role("button", name="Deactivate").click()
    page.get_by_role("dialog").get_by_role("button", name="Deactivate").click()
    expect(page.get_by_text("mood 2.0.0 is inactive.")).to_be_visible()
    card.get_by_role("button", name="Activate").click()
    page.get_by_role("dialog").get_by_role("button", name="Activate").click()
    expect(page.get_by_text("mood 2.0.0 is active.")).to_be_visible()
    card.get_by_role("button", name="Make default").click()  # it is there once the page has read the model again
    for action in ("deactivate", "activate"):  # by somebody else
        ask(gateway, "POST", f"/api/v1/models/mood/versions/2.0.0/{action}")
    page.get_by_role("dialog").get_by_role("button", name="Make it the default").click()
    expect(page.get_by_role("alert")).to_contain_text("That did not work")
    assert [each["is_default"] for each in ask(gateway, "GET", "/api/v1/models/mood")["versions"]] == [True, False]


# --- what happens now ----------------------------------------------------------------------------------------------


def test_what_waits_for_nobody_is_seen_at_once_and_cancelled(page: Page, gateway: Service) -> None:
    open_view(page, "overview")
    expect(page.locator("header").get_by_text("Live")).to_be_visible()
    body = {"model": "nobody", "text": "for nobody", "options": {"labels": ["a"]}, "tags": {"team": "blue"}}
    assert ask(gateway, "POST", "/api/v1/predict?wait=0", body)["status"] == "queued"
    row = page.get_by_role("row").filter(has_text="nobody serves it")
    expect(row.get_by_role("cell").nth(2)).to_have_text("1")
    open_view(page, "predictions?status=queued&tag=team:blue")
    page.locator("tbody a").click()
    expect(page.get_by_text("1 in the queue")).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator("main .badge").first).to_have_text("cancelled")
    expect(page.get_by_text("team: blue")).to_be_visible()


_QUEUE = {"model": "mood", "version": "1.0.0", "priority": "interactive", "running": 2, "oldest_s": 3.5, "workers": 1}
_UNSERVED = {**_QUEUE, "model": "nobody", "depth": 7, "running": 0, "drains_per_s": None, "eta_s": None, "workers": 0}


def _events(depth: int) -> str:
    queues = [{**_QUEUE, "depth": depth, "drains_per_s": 4.0, "eta_s": depth / 4}, _UNSERVED]
    data = json.dumps({"queues": queues, "results": 3, "dead_letters": 1})
    newest = 'event: predictions\ndata: {"items": []}\n\n'
    return f": a comment\r\n\r\nid: 1\r\nevent: queues\r\ndata: {data}\r\n\r\n{newest}"


def test_queues_are_shown_as_events_tell_and_nothing_is_asked_for_in_a_hidden_tab(page: Page) -> None:
    asked: list[int] = []

    def answer(route: Route) -> None:
        asked.append(1)
        route.fulfill(content_type="text/event-stream", body=_events(20 + len(asked)))

    page.route("**/api/v1/events", answer)
    open_view(page, "overview")
    row = page.get_by_role("row").filter(has_text="mood").filter(has_text="interactive")
    expect(row).to_contain_text("4/s")
    expect(row).to_contain_text(re.compile(r"5\.\d s"))
    unserved = page.get_by_role("row").filter(has_text="nobody serves it")
    expect(unserved).to_have_class("unserved")
    expect(page.locator(".tiles .bad")).to_have_text(re.compile("Unserved versions"))
    expect(page.get_by_role("img", name="depth: 2").first).to_be_visible()  # its course, once there are two samples
    _hide(page, hidden=True)
    expect(page.locator("header").get_by_text("Paused")).to_be_visible()
    before = len(asked)
    page.wait_for_timeout(2500)
    assert len(asked) == before
    _hide(page, hidden=False)
    expect(page.locator("header").get_by_text("Live")).to_be_visible()


def _hide(page: Page, *, hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_without_events_it_is_asked_for_every_few_seconds(page: Page) -> None:
    page.route("**/api/v1/events", lambda route: route.fulfill(status=404, json={"detail": "no such path"}))
    open_view(page, "overview")
    expect(page.locator("header").get_by_text("Every 5 s")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="nobody serves it")).to_be_visible()
    with page.expect_request("**/api/v1/predictions?limit=10", timeout=10_000):
        pass


def test_events_are_read_wherever_they_are_cut(page: Page) -> None:
    open_view(page, "models")
    stream = ': hello\n\nevent: a\r\nid: 7\r\ndata: {"x":\r\ndata: 1}\r\n\r\ndata: "ü"\n\nevent: b\rdata: 2\r\r'
    script = """async (stream) => {
      const main = document.querySelector('script[src$="main.js"]').src;
      const { EventParser } = await import(main.replace("main.js", "api.js"));
      const found = [];
      for (let size = 1; size <= stream.length; size++) {
        const parser = new EventParser();
        const events = [];
        for (let at = 0; at < stream.length; at += size) events.push(...parser.feed(stream.slice(at, at + size)));
        events.push(...parser.feed("\\n"));
        found.push(events);
      }
      return found;
    }"""
    expected = [{"event": "a", "data": {"x": 1}, "id": "7"}, {"event": "message", "data": "ü", "id": "7"}]
    for events in page.evaluate(script, stream):
        assert events == [*expected, {"event": "b", "data": 2, "id": "7"}]


# --- who this is ---------------------------------------------------------------------------------------------------


def test_who_must_be_known_is_asked_and_a_credential_is_nowhere_but_in_memory(browser: Browser, start: Start) -> None:
    issued = {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    secured = start("gateway", ready=True, AUTH="required", JWT_SECRET=SECRET.decode(), **issued)
    good = token(SECRET, scope="predict read")
    with page_of(browser, base_url=secured.url) as page:
        page.goto("/")
        box = page.get_by_label("Token or API key")
        for wrong in ("nonsense", token(b"another secret of 32 characters!!")):
            box.fill(wrong)
            box.press("Enter")
            expect(page.get_by_role("dialog", name="Who are you?")).to_be_visible()
        box.fill(good)
        box.press("Enter")
        expect(page.get_by_label("Text")).to_be_visible()
        page.get_by_role("link", name="Dead letters").click()
        expect(page.get_by_role("alert")).to_contain_text("Not allowed")  # for administrators
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
        assert good not in kept + page.content() and kept.startswith('[{},{},"",')
        page.reload()
        expect(page.get_by_role("dialog", name="Who are you?")).to_be_visible()


# --- for everybody -------------------------------------------------------------------------------------------------


def test_every_view_is_accessible(browser: Browser, gateway: Service) -> None:
    prediction_id = predict(gateway, "mood", "for all")
    with page_of(browser, base_url=gateway.url, reduced_motion="reduce") as page:
        for view in (*VIEWS, f"predictions/{prediction_id}"):
            open_view(page, view)
            assert not grave_findings(page), view
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        for view in ("overview", "models/mood", f"predictions/{prediction_id}"):  # which have all that others have
            open_view(page, view)
            assert not grave_findings(page, "color-contrast"), f"{view} in the dark"


def test_every_view_fits_a_phone(browser: Browser, gateway: Service) -> None:
    prediction_id = predict(gateway, "echo", "w" * 300)
    with page_of(browser, base_url=gateway.url, **PHONE) as page:
        for view in (*VIEWS, f"predictions/{prediction_id}"):
            open_view(page, view)
            wide = page.evaluate("document.scrollingElement.scrollWidth")
            assert wide <= 390, f"{view} is {wide} pixels wide"
            expect(page.locator("nav a[aria-current]")).to_be_in_viewport(ratio=1)
        assert not grave_findings(page)


def test_the_keyboard_alone_is_enough_and_one_sees_where_one_is(page: Page) -> None:
    open_view(page, "overview")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "[document.activeElement.id || document.activeElement.textContent, "
            "getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline != "none", f"one does not see that {name} has the focus"
        seen.append(name)
        if name == "input":
            page.keyboard.press("ControlOrMeta+a")
            page.keyboard.type("by keyboard")
        if name == "Predict":
            page.keyboard.press("Enter")
            break
    assert seen[:3] == ["try-model", "try-version", "input"] and seen[-1] == "Predict"
    expect(page.locator(".verdict")).to_have_text("POSITIVE")
    open_view(page, "models/mood")
    button = page.get_by_role("button", name="Deactivate").first
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(button).to_be_focused()
