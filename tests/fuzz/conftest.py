"""The pipeline as processes, as the end-to-end tests have it."""

from tests.e2e.conftest import start

__all__ = ["start"]
