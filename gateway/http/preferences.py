"""How long to wait for a prediction, from query and header. Pure.

`?wait=S` takes precedence over the header `Prefer` (RFC 7240), which takes precedence over the default. In that header
`wait=S` takes precedence over `respond-async`: both together mean an asynchronous response after S seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.settings import MAX_WAIT_S


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds to wait, and the applied preference that the response confirms ('' for none)."""

    seconds: float
    applied: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that confirm the preference."""
        return {"Preference-Applied": self.applied} if self.applied else {}


def wait_of(asked_s: float | None, prefer: str | None, default_s: float) -> Wait:
    """How long the client wants to wait.

    Args:
        asked_s: the query parameter `wait`.
        prefer: the header `Prefer`; invalid preferences in it are ignored, as the RFC requires.
    """
    if asked_s is not None:
        return Wait(asked_s)
    if prefer is None:
        return Wait(default_s)
    preferences = _preferences(prefer)
    value = preferences.get("wait", "")
    if value.isascii() and value.isdigit():
        seconds = min(int(value[:9]), MAX_WAIT_S)
        return Wait(seconds, f"wait={seconds}")
    return Wait(0, "respond-async") if "respond-async" in preferences else Wait(default_s)


def _preferences(header: str) -> dict[str, str]:
    """Preferences by name; parameters (after a `;`) are ignored, and the first of duplicates counts."""
    preferences: dict[str, str] = {}
    for preference in header.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        preferences.setdefault(name.strip().lower(), value.strip().strip('"'))
    return preferences
