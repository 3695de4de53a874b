"""How many threads torch uses in this process."""

from __future__ import annotations

import torch

from inference_worker.cpus import cpus_given


def configure_torch(threads: int | None = None) -> None:
    """Set torch's threads for this process, by default one for each CPU; call it before the first model is loaded."""
    torch.set_num_threads(threads or cpus_given())
    try:
        torch.set_num_interop_threads(1)  # one pass at a time: a second pool would only compete with the first
    except RuntimeError:  # torch allows this once, and only before its first parallel work; a second call is harmless
        pass
