"""A browser for tests: Chromium without a screen, and pages that remember what went wrong in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt install chromium)")

_PATIENCE_MS = 20_000
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""
_AXE = AXE_FILE_PATH.read_text(encoding="utf-8")
_GRAVE = ("serious", "critical")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, as long as the block runs."""
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Browser, **settings: Any) -> Iterator[Page]:
    """A page of a profile of its own. At its end nothing has gone wrong in it: no error, no breach of its policy.

    An answer of the API that is no success is none of these.
    """
    troubles: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        refused = message.text.startswith("Failed to load resource") and "/api/v1/" in message.location["url"]
        if message.type in ("error", "warning") and not refused:
            troubles.append(message.text)

    context = browser.new_context(**settings)
    context.set_default_timeout(_PATIENCE_MS)
    context.add_init_script(_TELL_VIOLATIONS)
    page = context.new_page()
    page.on("console", hear)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(f"a dialog: {dialog.message}"))
    yield page
    context.close()
    assert not troubles, troubles


def grave_findings(page: Page, *rules: str) -> list[str]:
    """What axe finds serious or worse on a page, by all its rules or by some."""
    if page.evaluate("window.axe === undefined"):
        page.evaluate(_AXE)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in found["violations"]
        if each["impact"] in _GRAVE
    ]
