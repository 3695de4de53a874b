"""Why something is no HTTP, in words. Pure."""

from __future__ import annotations

from aiohttp.http_exceptions import BadHttpMessage, BadStatusLine, InvalidHeader, InvalidURLError, LineTooLong

_REASONS: dict[type[BaseException], str] = {
    BadStatusLine: "the request line is malformed",
    InvalidHeader: "a header is malformed",
    InvalidURLError: "the target of the request is malformed",
    LineTooLong: "the request line, or a header, is longer than 8190 bytes",
}


def why_malformed(error: BaseException | None) -> str:
    """Why something is no HTTP, without what was sent."""
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return reason
    if type(error) is BadHttpMessage:
        words, _, _ = error.message.partition(":\n\n")  # then follows what was sent
        return f"the request is malformed: {words}"
    return "the request is malformed"
