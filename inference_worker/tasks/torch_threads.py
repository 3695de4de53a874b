"""How many threads torch uses in this process."""

from __future__ import annotations

import torch


def configure_torch(threads: int) -> None:
    """Set torch's threads for this process; call it once, before the first model is loaded."""
    torch.set_num_threads(threads)
    try:
        torch.set_num_interop_threads(1)  # one pass at a time: a second pool would only compete with the first
    except RuntimeError:  # torch allows this once, and only before its first parallel work; a second call is harmless
        pass
