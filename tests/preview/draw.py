"""Draw a dashboard with matplotlib, each panel where its gridPos says, about as Grafana would show it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter
from PIL import Image

matplotlib.use("Agg")

Series = tuple[dict[str, str], list[tuple[float, float]]]  # labels, (seconds, value)
Panel = dict[str, Any]

BACKGROUND, PANEL, TEXT, FAINT = "#111217", "#181b1f", "#d8d9da", "#2c3235"
COLOURS = {"green": "#37872d", "orange": "#c4621b", "red": "#c4162a", "transparent": PANEL}
LINES = ("#73bf69", "#5794f2", "#f2cc0c", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0", "#96d98d", "#fade2a")
WIDTH_IN, ROW_IN, DPI = 18.0, 0.36, 80
MOST_LEGEND = 9
GAP_S = 3.0


def draw(dashboard: dict[str, Any], found: dict[int, list[list[Series]]], picture: Path) -> None:
    """Write the picture of a dashboard whose panels have these series, a list a query."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) + 1
    height = rows * ROW_IN
    figure = pyplot.figure(figsize=(WIDTH_IN, height), facecolor=BACKGROUND)
    figure.text(0.005, 1 - 0.24 / height, dashboard["title"], color="white", fontsize=15, weight="bold", va="center")
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        left, top = place["x"] / 24, 1 - (place["y"] + 1) / rows
        if panel["type"] == "row":
            figure.text(
                left + 0.005, top - 0.5 / rows, panel["title"], color=TEXT, fontsize=11, weight="bold", va="center"
            )
            continue
        wide, high = place["w"] / 24, place["h"] / rows
        box = (left + 0.002, top - high + 0.04 / height, wide - 0.004, high - 0.08 / height)
        figure.add_axes(box, facecolor=PANEL, xticks=[], yticks=[]).spines[:].set_color(FAINT)
        figure.text(
            left + 0.007, top - 0.17 / height, panel["title"], color=TEXT, fontsize=9, weight="bold", va="center"
        )
        inside = _inside(panel, box, height)
        axes = figure.add_axes(inside, facecolor=PANEL)
        _KINDS[panel["type"]](axes, panel, found.get(panel["id"], []))
    figure.savefig(picture, dpi=DPI, facecolor=BACKGROUND)
    pyplot.close(figure)
    Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)


def cut(dashboard: dict[str, Any], row: str, picture: Path, to: Path) -> None:
    """Write what of a dashboard's picture is above a row, by its title."""
    [above] = [panel["gridPos"]["y"] + 1 for panel in dashboard["panels"] if panel["title"] == row]
    whole = Image.open(picture)
    whole.crop((0, 0, whole.width, round(above * ROW_IN * DPI))).save(to, optimize=True)


def human(value: float, unit: str) -> str:
    """A value in its unit."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    suffix = {"reqps": " req/s", "ops": "/s", "cps": "/s"}.get(unit, "")
    return f"{value:.3g}{suffix}" if abs(value) < 1000 else f"{value / 1000:.3g}k{suffix}"


def legend_of(panel: Panel, query: int, labels: dict[str, str]) -> str:
    """What a line is called."""
    form = panel["targets"][query]["legendFormat"]
    if form == "__auto":
        return ", ".join(labels.values()) or "value"
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), form)


def _inside(panel: Panel, box: tuple[float, float, float, float], height: float) -> tuple[float, float, float, float]:
    left, bottom, wide, high = box
    if panel["type"] in ("stat", "table"):
        return (left + 0.004, bottom + 0.03 / height, wide - 0.008, high - 0.36 / height)
    legend = 0.66 if panel["type"] == "timeseries" else 0.1
    return (left + 0.034, bottom + (legend + 0.2) / height, wide - 0.042, high - (legend + 0.6) / height)


def _stat(axes: Axes, panel: Panel, found: Sequence[Sequence[Series]]) -> None:
    axes.axis("off")
    values = [value for series in found for _, points in series for _, value in points] or [math.nan]
    defaults = panel["fieldConfig"]["defaults"]
    text, colour = _shown(defaults, values[-1])
    axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, color=COLOURS[colour], zorder=0))
    course = np.nan_to_num(np.array(values))
    course = (course - course.min()) / (np.ptp(course) or 1) * 0.4
    across = np.linspace(0, 1, len(values))
    axes.fill_between(across, course, transform=axes.transAxes, color="white", alpha=0.18)
    axes.text(
        0.5,
        0.55,
        text,
        transform=axes.transAxes,
        color="white",
        fontsize=19,
        ha="center",
        va="center",
        weight="bold",
    )


def _shown(defaults: dict[str, Any], value: float) -> tuple[str, str]:
    """Text and colour of a number."""
    if math.isnan(value):
        nothing = defaults["mappings"][0]["options"]["result"]
        return nothing["text"], nothing["color"]
    steps = defaults["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return human(value, defaults["unit"]), reached[-1]


def _timeseries(axes: Axes, panel: Panel, found: Sequence[Sequence[Series]]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    lines = [
        (legend_of(panel, query, labels), _with_gaps(points))
        for query, series in enumerate(found)
        for labels, points in series
        if any(not math.isnan(value) for _, value in points)
    ]
    _dress(axes, defaults["unit"])
    axes.set_xlim(0, max((points[-1, 0] for _, points in lines), default=1))
    if defaults["custom"]["stacking"]["mode"] == "normal" and lines:
        times = sorted({at for _, points in lines for at in points[:, 0]})
        stacked = [np.interp(times, points[:, 0], np.nan_to_num(points[:, 1]), left=0, right=0) for _, points in lines]
        axes.stackplot(times, stacked, labels=[name for name, _ in lines], colors=LINES, alpha=0.75)
    else:
        for index, (name, points) in enumerate(lines):
            axes.plot(points[:, 0], points[:, 1], label=name, color=LINES[index % len(LINES)], linewidth=1.3)
    if defaults.get("min") == 0:
        axes.set_ylim(bottom=0)
    top = axes.get_ylim()[1]
    for step in defaults["thresholds"]["steps"]:
        if (
            step["value"] is not None
            and defaults["custom"]["thresholdsStyle"]["mode"] == "line"
            and step["value"] <= top
        ):
            axes.axhline(step["value"], color=COLOURS[step["color"]], linestyle="--", linewidth=1)
    handles, names = axes.get_legend_handles_labels()
    more = len(names) - MOST_LEGEND
    axes.legend(
        handles[:MOST_LEGEND],
        names[:MOST_LEGEND] if more <= 0 else [*names[: MOST_LEGEND - 1], f"… {more + 1} more"],
        loc="upper left",
        bbox_to_anchor=(-0.04, -0.14),
        ncols=2 if max(map(len, names), default=0) > 22 else 3,
        fontsize=7,
        frameon=False,
        labelcolor=TEXT,
        handlelength=1.2,
        columnspacing=1,
    )


def _with_gaps(points: Sequence[tuple[float, float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The points as an array, a line through which is broken where values are missing."""
    spaced: list[tuple[float, float]] = []
    for at, value in points:
        if spaced and at - spaced[-1][0] > GAP_S:
            spaced.append((at - GAP_S / 2, math.nan))
        spaced.append((at, value))
    return np.array(spaced)


def _heatmap(axes: Axes, panel: Panel, found: Sequence[Sequence[Series]]) -> None:
    unit = panel["options"]["yAxis"]["unit"]
    _dress(axes, unit)
    buckets = sorted(((float(labels["le"]), dict(points)) for labels, points in found[0]), key=lambda each: each[0])
    times = sorted({at for _, points in buckets for at in points})
    counts = np.array([[points.get(at, 0.0) for at in times] for _, points in buckets])
    counts = np.clip(np.diff(counts, axis=0, prepend=0), 0, None)
    axes.pcolormesh(times, range(len(buckets)), np.sqrt(counts), cmap="inferno", shading="nearest")
    axes.set_yticks(range(len(buckets)), [human(le, unit) if le != math.inf else "+Inf" for le, _ in buckets])
    axes.yaxis.set_major_formatter(FixedFormatter([human(le, unit) if le != math.inf else "inf" for le, _ in buckets]))
    axes.grid(False)


def _table(axes: Axes, panel: Panel, found: Sequence[Sequence[Series]]) -> None:
    axes.axis("off")
    organize = panel["transformations"][1]["options"]
    by, names = list(organize["indexByName"]), list(organize["renameByName"].values())
    units = {each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]}
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for name, series in zip(names, found, strict=True):
        for labels, points in series:
            key = tuple(labels.get(label, "") for label in by)
            cells.setdefault(key, {})[name] = human(points[-1][1], units[name])
    rows = [[*key, *(cells[key].get(name, "-") for name in names)] for key in sorted(cells)]
    if not rows:
        return
    drawn = axes.table(cellText=rows, colLabels=[*by, *names], loc="upper center", cellLoc="left")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(9)
    drawn.scale(1, 1.45)
    for (row, _), cell in drawn.get_celld().items():
        cell.set(facecolor=BACKGROUND if row == 0 else PANEL, edgecolor=FAINT)
        cell.get_text().set(color="#8ab8ff" if row == 0 else TEXT)


def _dress(axes: Axes, unit: str) -> None:
    axes.tick_params(colors=TEXT, labelsize=7, length=2)
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")
    axes.yaxis.set_major_formatter(lambda value, _: human(value, unit))


_KINDS: dict[str, Callable[[Axes, Panel, Sequence[Sequence[Series]]], None]] = {
    "stat": _stat,
    "timeseries": _timeseries,
    "heatmap": _heatmap,
    "table": _table,
}
