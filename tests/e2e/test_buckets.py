"""Artifacts of buckets, through gateway and worker: versions of the catalogue and one that is registered by API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from transformers import BertForSequenceClassification

from tests.buckets import Bucket, serving
from tests.e2e.conftest import Start
from tests.e2e.test_load_failures import ENTRY
from tests.e2e.test_model_lifecycle import Api
from tests.migrating import migrate_catalogue
from tests.tiny_models import bert, save
from tests.waiting import eventually

WORDS = """
from pathlib import Path

class Words:
    def __init__(self, artifact):
        self._words = Path(artifact, "words.txt").read_text().split()

    def predict(self, inputs):
        return [{"known": each in self._words} for each in inputs]
"""
WRONG = {  # what is wrong with an artifact, and what is told
    "digest": "its SHA256SUMS is another one than the address says: its SHA-256 is",
    "content": "'s SHA-256 is",
    "missing": "there is no 'missing/words.txt' in bucket 'models'",
    "denied": "may not be read (AccessDenied): look at the credentials and their right s3:GetObject",
}
PATIENCE_S = 120
