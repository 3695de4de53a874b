"""What can go wrong while bringing up a local stack, told so that a person knows what to do next."""

from __future__ import annotations


class StackError(Exception):
    """The stack can't be started or went wrong; the message names the remedy."""


class ProcessFailed(StackError):
    """A process ended, or did not become ready in time."""

    def __init__(self, message: str, service: str) -> None:
        super().__init__(message)
        self.service = service
