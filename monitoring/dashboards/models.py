"""Speed, throughput and confidence of each model version."""

from __future__ import annotations

from monitoring.dashboards.choices import MODEL, VERSION
from monitoring.dashboards.experiments import experiments
from monitoring.dashboards.expressions import BY_VERSION, CHOSEN, RATE, mean, quantile, rate
from monitoring.dashboards.panels import Json, dashboard, graph, heatmap, table

COMPUTING = "millstream_inference_duration_seconds"
DONE = "millstream_predictions_total"
LABELLED = "millstream_predictions_by_label_total"
BATCH = "millstream_batch_size"
CONFIDENCE = "millstream_prediction_confidence"
FAILED = f'{CHOSEN},status="failed"'
UNSURE = f'{CHOSEN},le="0.6"'
BY = "sum by (model, version)"
WHOLE = "$__range"
SIDES = {
    "per second": (f"{BY} ({rate(DONE, CHOSEN, WHOLE)})", "ops"),
    "wait p95": (
        (
            "histogram_quantile(0.95, sum by (le, model, version) "
            f"({rate('millstream_queue_wait_seconds_bucket', CHOSEN, WHOLE)}))"
        ),
        "s",
    ),
    "batch p95": (
        f"histogram_quantile(0.95, sum by (le, model, version) ({rate(f'{COMPUTING}_bucket', CHOSEN, WHOLE)}))",
        "s",
    ),
    "batch size": (
        f"{BY} ({rate(f'{BATCH}_sum', CHOSEN, WHOLE)}) / {BY} ({rate(f'{BATCH}_count', CHOSEN, WHOLE)})",
        "short",
    ),
    "confidence": (
        f"{BY} ({rate(f'{CONFIDENCE}_sum', CHOSEN, WHOLE)}) / {BY} ({rate(f'{CONFIDENCE}_count', CHOSEN, WHOLE)})",
        "percentunit",
    ),
    "failed": (
        (
            f"({BY} ({rate(DONE, FAILED, WHOLE)}) or {BY} ({rate(DONE, CHOSEN, WHOLE)}) * 0) / {BY} "
            f"({rate(DONE, CHOSEN, WHOLE)})"
        ),
        "percentunit",
    ),
}


def _speed() -> list[Json]:
    return [
        graph(
            "Batch duration, p95",
            [(quantile(0.95, COMPUTING, "model, version", CHOSEN), BY_VERSION)],
            "s",
            "Computing only, without waiting.",
        ),
        graph(
            "Computing time per prediction",
            [
                (
                    (
                        f"sum by (model, version) ({rate(f'{COMPUTING}_sum', CHOSEN)}) / sum by (model, version) "
                        f"({rate(f'{BATCH}_sum', CHOSEN)})"
                    ),
                    BY_VERSION,
                )
            ],
            "s",
            "Computing time divided by the number of predictions: the cost of one.",
        ),
        graph(
            "Batch size, mean",
            [(mean(BATCH, "model, version", CHOSEN), BY_VERSION)],
            "short",
            "Requests computed together. If it stays near 1, the queue is never deep enough to batch.",
        ),
    ]


def _volume() -> list[Json]:
    return [
        graph(
            "Throughput",
            [(f"sum by (model, version) ({rate(DONE, CHOSEN)})", BY_VERSION)],
            "ops",
            "Predictions finished per second.",
            stacked=True,
        ),
        graph(
            "Predictions by status",
            [(f"sum by (status) ({rate(DONE, CHOSEN)})", "{{status}}")],
            "ops",
            "expired: the deadline passed in the queue.",
            stacked=True,
        ),
        graph(
            "Failure ratio",
            [
                (
                    (
                        f"(sum by (model, version) ({rate(DONE, FAILED)}) or sum by (model, version) "
                        f"({rate(DONE, CHOSEN)}) * 0) / sum by (model, version) ({rate(DONE, CHOSEN)})"
                    ),
                    BY_VERSION,
                )
            ],
            "percentunit",
            "Share of predictions that failed.",
            ((0.05, "red"),),
        ),
        graph(
            "Busy",
            [(f"sum by (model, version) ({rate(f'{COMPUTING}_sum', CHOSEN)})", BY_VERSION)],
            "percentunit",
            (
                "Share of the time spent computing, summed over all workers of a version: near 100 % per worker, "
                "add workers."
            ),
        ),
    ]


def _processes() -> list[Json]:
    return [
        graph(
            "Processes",
            [(f"sum by (model, version) (millstream_children{{{CHOSEN}}})", BY_VERSION)],
            "short",
            "Child processes that can compute. Fewer than usual: one has ended, and its successor is loading.",
        ),
        graph(
            "Processes replaced",
            [
                (
                    f"sum by (model, version, reason) ({rate('millstream_child_restarts_total', CHOSEN)}) * 60",
                    "{{model}} {{version}} {{reason}}",
                )
            ],
            "short",
            "Per minute. child_died: a crash; out_of_memory, compute_timeout: a limit was reached; worn: as planned.",
        ),
        graph(
            "Memory",
            [(f"sum by (model, version) (millstream_model_memory_bytes{{{CHOSEN}}})", BY_VERSION)],
            "bytes",
            "Memory of the processes. WORKER_MEMORY_MB, if it is set, bounds what a worker's versions have together.",
        ),
        graph(
            "Unloaded for others",
            [
                (
                    f"sum by (model, version) ({rate('millstream_model_unloads_total', CHOSEN)}) * 60",
                    f"{BY_VERSION} unloaded",
                ),
                (
                    f"max by (model, version) (millstream_model_waiting_for_memory{{{CHOSEN}}})",
                    f"{BY_VERSION} waits",
                ),
            ],
            "short",
            "Unloads per minute, and 1 while a version waits for memory. Many: workers have too little memory.",
        ),
        graph(
            "Loading",
            [
                (f"max by (model, version) (millstream_model_load_seconds{{{CHOSEN}}})", BY_VERSION),
            ],
            "s",
            "How long the version took to load the last time.",
        ),
    ]


def _confidence() -> list[Json]:
    return [
        heatmap(
            "Confidence",
            f"sum by (le) (increase({CONFIDENCE}_bucket{{{CHOSEN}}}[{RATE}]))",
            "percentunit",
            (
                "Confidence of the selected models. A band that moves or widens means that a model or its input has "
                "changed. Select one version to see it alone."
            ),
        ),
        graph(
            "Confidence, mean",
            [(mean(CONFIDENCE, "model, version", CHOSEN), BY_VERSION)],
            "percentunit",
            "Only for tasks that have a confidence.",
        ),
        graph(
            "Low-confidence predictions",
            [
                (
                    (
                        f"sum by (model, version) ({rate(f'{CONFIDENCE}_bucket', UNSURE)}) / sum by (model, version) "
                        f"({rate(f'{CONFIDENCE}_count', CHOSEN)})"
                    ),
                    BY_VERSION,
                )
            ],
            "percentunit",
            "Share of predictions with a confidence of at most 0.6.",
        ),
    ]


def _labels() -> list[Json]:
    return [
        graph(
            "Predictions by label",
            [(f"sum by (model, version, label) ({rate(LABELLED, CHOSEN)})", "{{model}} {{version}} {{label}}")],
            "ops",
            "Predicted labels per second, for models whose configuration names labels; other: not among the first 20. "
            "If the shares move although the texts have not changed, the model has.",
            stacked=True,
        ),
        graph(
            "Drift",
            [
                (
                    f"max by (model, version, signal) (millstream_drift_psi{{{CHOSEN}}})",
                    "{{model}} {{version}} {{signal}}",
                )
            ],
            "short",
            "Shift of the newest predictions against the version's first ones (population stability index): above 0.1 "
            "worth a look, above 0.25 something has changed.",
            ((0.25, "red"),),
        ),
    ]


def models() -> Json:
    """Speed, throughput and confidence of each model version."""
    rows = [
        (
            "Side by side",
            6,
            [table("Versions side by side", ("model", "version"), SIDES, "Each version over the selected time range.")],
        ),
        ("Speed", 8, _speed()),
        ("Volume", 8, _volume()),
        ("Processes", 7, _processes()),
        ("Confidence", 9, _confidence()),
        ("Labels and drift", 8, _labels()),
        ("Experiments", 7, experiments()),
    ]
    return dashboard(
        "millstream-models",
        "Millstream / Models",
        "Speed, throughput and confidence of each model version.",
        rows,
        [MODEL, VERSION],
    )
