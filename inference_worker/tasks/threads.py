"""How many threads compute a model in this process, whatever engine does."""

from __future__ import annotations

from inference_worker.cpus import cpus_given

_chosen: list[int] = []


def use_threads(count: int | None = None) -> None:
    """Choose how many, by default one for each CPU; call it before the first model is loaded."""
    _chosen[:] = [count or cpus_given()]


def threads() -> int:
    """What was chosen, or else one for each CPU."""
    return _chosen[0] if _chosen else cpus_given()
