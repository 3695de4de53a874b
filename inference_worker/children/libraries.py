"""Imported by the server that children are forked from: what every built-in task needs, and nothing that computes."""

from __future__ import annotations

import gc

import torch  # noqa: F401
import transformers  # noqa: F401

from inference_worker.tasks import artifacts, text_classification  # noqa: F401

gc.freeze()  # a collection would write to the pages that children share
