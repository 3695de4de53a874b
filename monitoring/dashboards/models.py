"""How fast and how sure each model version is."""

from __future__ import annotations

from monitoring.dashboards.choices import MODEL, VERSION
from monitoring.dashboards.expressions import BY_VERSION, CHOSEN, RATE, mean, quantile, rate
from monitoring.dashboards.panels import Json, dashboard, graph, heatmap, table

COMPUTING = "millstream_inference_duration_seconds"
DONE = "millstream_predictions_total"
LABELLED = "millstream_predictions_by_label_total"
BATCH = "millstream_batch_size"
SURE = "millstream_prediction_confidence"
FAILED = f'{CHOSEN},status="failed"'
UNSURE = f'{CHOSEN},le="0.6"'
BY = "sum by (model, version)"
WHOLE = "$__range"
SIDES = {
    "a second": (f"{BY} ({rate(DONE, CHOSEN, WHOLE)})", "ops"),
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
        f"{BY} ({rate(f'{SURE}_sum', CHOSEN, WHOLE)}) / {BY} ({rate(f'{SURE}_count', CHOSEN, WHOLE)})",
        "percentunit",
    ),
    "failing": (
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
            "Time of a batch, p95",
            [(quantile(0.95, COMPUTING, "model, version", CHOSEN), BY_VERSION)],
            "s",
            "Computing alone, without waiting.",
        ),
        graph(
            "Time a prediction",
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
            "Computing time over the number of predictions: what one costs.",
        ),
        graph(
            "Batch size, mean",
            [(mean(BATCH, "model, version", CHOSEN), BY_VERSION)],
            "short",
            "Requests computed together. Near 1 under load: the queue is never deep enough to batch.",
        ),
    ]


def _amount() -> list[Json]:
    return [
        graph(
            "Throughput",
            [(f"sum by (model, version) ({rate(DONE, CHOSEN)})", BY_VERSION)],
            "ops",
            "Predictions finished a second.",
            stacked=True,
        ),
        graph(
            "Predictions by status",
            [(f"sum by (status) ({rate(DONE, CHOSEN)})", "{{status}}")],
            "ops",
            "expired: their deadline passed in the queue.",
            stacked=True,
        ),
        graph(
            "Failing",
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
            "Share of predictions that failed, by version.",
            ((0.05, "red"),),
        ),
        graph(
            "Busy",
            [(f"sum by (model, version) ({rate(f'{COMPUTING}_sum', CHOSEN)})", BY_VERSION)],
            "percentunit",
            (
                "Share of the time in which a version computes, all its workers together: at 100 % a worker, "
                "more workers are needed."
            ),
        ),
    ]


def _confidence() -> list[Json]:
    return [
        heatmap(
            "Confidence",
            f"sum by (le) (increase({SURE}_bucket{{{CHOSEN}}}[{RATE}]))",
            "percentunit",
            (
                "How sure the chosen models were: a band that moves or widens is a model, or its input, that "
                "changed. Choose one version to see it alone."
            ),
        ),
        graph(
            "Confidence, mean",
            [(mean(SURE, "model, version", CHOSEN), BY_VERSION)],
            "percentunit",
            "Only where a task has a confidence.",
        ),
        graph(
            "Unsure predictions",
            [
                (
                    (
                        f"sum by (model, version) ({rate(f'{SURE}_bucket', UNSURE)}) / sum by (model, version) "
                        f"({rate(f'{SURE}_count', CHOSEN)})"
                    ),
                    BY_VERSION,
                )
            ],
            "percentunit",
            "Share of predictions with a confidence of at most 0.6.",
        ),
    ]


def _answers() -> list[Json]:
    return [
        graph(
            "Predictions by label",
            [(f"sum by (model, version, label) ({rate(LABELLED, CHOSEN)})", "{{model}} {{version}} {{label}}")],
            "ops",
            "What models with labels of their own answered, a second; other: a label that is not among their first 20. "
            "Shares that move without the texts having changed are a model that changed.",
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
            "How far the newest predictions have moved from the version's first ones (population stability index): "
            "above 0.1 look, above 0.25 something changed.",
            ((0.25, "red"),),
        ),
    ]


def models() -> Json:
    """How fast and how sure each model version is."""
    rows = [
        (
            "Side by side",
            6,
            [table("Versions side by side", ("model", "version"), SIDES, "Each version over the whole time shown.")],
        ),
        ("Speed", 8, _speed()),
        ("Amount", 8, _amount()),
        ("Confidence", 9, _confidence()),
        ("Answers", 8, _answers()),
    ]
    return dashboard(
        "millstream-models",
        "Millstream / Models",
        "How fast and how sure each model version is.",
        rows,
        [MODEL, VERSION],
    )
