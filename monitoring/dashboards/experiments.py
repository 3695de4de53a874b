"""Panels about the experiments that run."""

from __future__ import annotations

from monitoring.dashboards.expressions import rate
from monitoring.dashboards.panels import Json, graph

_OF_MODEL = 'model=~"$model"'


def experiments() -> list[Json]:
    """How requests are shared out between arms, and what becomes of copies for a shadow."""
    return [
        graph(
            "Requests by arm",
            [
                (
                    f"sum by (model, arm) ({rate('millstream_experiment_requests_total', _OF_MODEL)})",
                    "{{model}} {{arm}}",
                )
            ],
            "ops",
            "Requests given to each arm of the experiments that run. What the arms have shown is told by "
            "GET /api/v1/models/…/experiment/results.",
            stacked=True,
        ),
        graph(
            "Copies for a shadow",
            [
                (
                    f"sum by (model, outcome) ({rate('millstream_shadow_copies_total', _OF_MODEL)})",
                    "{{model}} {{outcome}}",
                )
            ],
            "ops",
            "refused: the shadow's queue is a tenth full, so it is short of workers; unavailable: Redis was.",
        ),
    ]
