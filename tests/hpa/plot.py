"""Draws a simulated run, in the colours of the dashboards' pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from tests.hpa import trace
from tests.hpa.simulation import Course, Outcome

matplotlib.use("Agg")

BACKGROUND, PANEL, TEXT, FAINT = "#111217", "#181b1f", "#d8d9da", "#2c3235"
REPLICAS, BACKLOG, ASKED, EVENT = "#73bf69", "#ff780a", "#5794f2", "#8e8e96"
SIZE_IN, DPI = (16.0, 12.5), 80
EVENTS = (
    (trace.BURST, "burst ×2", "center"),
    (trace.POSTGRES_AWAY, "Postgres away", "center"),
    (trace.ADAPTER_AWAY, "no metrics\nbut CPU", "center"),
    (trace.STOP, "no requests", "center"),
)
HELD = {"api": "requests in flight", "persister": "results not stored"}
TITLES = {"api": "gateway (api)"}


def draw(outcome: Outcome, picture: Path) -> None:
    """Write the picture."""
    figure = pyplot.figure(figsize=SIZE_IN, facecolor=BACKGROUND)
    grid = figure.add_gridspec(4, 2, left=0.045, right=0.95, top=0.9, bottom=0.04, hspace=0.42, wspace=0.2)
    figure.text(0.012, 0.968, "Autoscaling, simulated", color="white", fontsize=16, weight="bold")
    figure.text(
        0.012,
        0.944,
        "the arithmetic of the Kubernetes HPA with the targets of k8s/hpa.yaml, over a day pressed into six hours",
        color=TEXT,
        fontsize=10.5,
    )
    hours = [at / trace.HOUR for at in outcome.at_s]
    asked = figure.add_subplot(grid[0, :])
    _style(asked, "Requests a second", hours[-1])
    asked.fill_between(hours, outcome.asked, color=ASKED, alpha=0.25, linewidth=0)
    asked.plot(hours, outcome.asked, color=ASKED, linewidth=1.4)
    asked.set_ylim(0, max(outcome.asked) * 1.3)
    for (start, end), name, align in EVENTS:
        middle = (start + end) / 2 / trace.HOUR
        asked.text(middle, max(outcome.asked) * 1.26, name, color=TEXT, fontsize=9, ha=align, va="top")
    for number, (name, course) in enumerate(outcome.courses.items()):
        _course(figure.add_subplot(grid[1 + number // 2, number % 2]), name, course, hours)
    figure.savefig(picture, dpi=DPI, facecolor=BACKGROUND)
    pyplot.close(figure)
    Image.open(picture).convert("RGB").quantize(128).save(picture, optimize=True)


def _course(axes: Axes, name: str, course: Course, hours: list[float]) -> None:
    hpa = course.hpa
    _style(axes, f"{TITLES.get(name, name)}: {hpa.minimum} to {hpa.maximum} replicas", hours[-1])
    held = axes.twinx()
    held.fill_between(hours, course.backlog, color=BACKLOG, alpha=0.45, linewidth=0)
    held.set_ylim(0, max(course.backlog) * 1.08)
    held.tick_params(colors=BACKLOG, labelsize=8, length=0)
    held.spines[:].set_visible(False)
    held.yaxis.set_major_formatter(FuncFormatter(_thousands()))
    held.yaxis.set_major_locator(MaxNLocator(5))
    axes.step(hours, course.replicas, where="post", color=REPLICAS, linewidth=1.8)
    axes.axhline(hpa.maximum, color=REPLICAS, linewidth=0.8, linestyle="--", alpha=0.5)
    axes.set_ylim(0, hpa.maximum * 1.12)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(axis="y", colors=REPLICAS)
    axes.set_zorder(held.get_zorder() + 1)
    axes.patch.set_visible(False)
    held.set_facecolor(PANEL)
    held.patch.set_visible(True)
    axes.text(1.0, 1.04, HELD.get(name, "queue depth"), color=BACKLOG, fontsize=9, ha="right", transform=axes.transAxes)


def _style(axes: Axes, title: str, last_hour: float) -> None:
    axes.set_facecolor(PANEL)
    axes.set_title(title, color=TEXT, fontsize=10.5, weight="bold", loc="left")
    axes.spines[:].set_color(FAINT)
    axes.tick_params(colors=TEXT, labelsize=8.5, length=0)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_xlim(0, last_hour)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda hour, _: f"{hour:.0f} h"))
    for (start, end), _, _ in EVENTS:
        axes.axvspan(start / trace.HOUR, end / trace.HOUR, color=EVENT, alpha=0.22, linewidth=0)


def _thousands() -> Callable[[float, int], str]:
    return lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:.0f}"
