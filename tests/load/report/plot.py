"""Draws the panels of a report as SVG, whose bytes follow from the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tests.load.inference_path import OURS, RAW, RAW_SORTED
from tests.load.report.figures import ECHO
from tests.load.report.panels import Line, Panel, digest

matplotlib.use("Agg")
matplotlib.rcParams |= {"svg.hashsalt": "millstream", "font.size": 9.5, "axes.axisbelow": True}

# Okabe and Ito's colours, which colour-blind people tell apart; each subject has a marker of its own, too.
CEILINGS, CEILING = (ECHO, RAW, RAW_SORTED), "#000000"
OURS_COLOURS = ("#0072B2", "#D55E00")
PEER_COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#8a6d00", "#E69F00", "#7f7f7f")
MARKERS, DASHES = "svD^P*Xh", ("--", ":", "-.")
PANEL_IN, LEGEND_IN = (5.0, 3.7), 0.75
DODGE = 0.005  # of the axis: by which neighbours are moved apart, so that their bars are seen


def draw(panels: Sequence[Panel], title: str, picture: Path) -> None:
    """Write the picture."""
    rows = (len(panels) + 1) // 2
    size = PANEL_IN[0] * 2, PANEL_IN[1] * rows + LEGEND_IN
    figure, axes = pyplot.subplots(rows, 2, figsize=size, squeeze=False, layout="constrained")
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    drawn = {}
    for panel, each in zip(panels, axes.flat, strict=True):
        places = _axes(each, panel)
        for number, line in enumerate(panel.lines):
            dodge = (places[-1] / places[0]) ** (DODGE * (number - len(panel.lines) / 2))
            drawn[line.name] = _line(each, line, dodge, names)
    figure.suptitle(title, fontsize=10.5)
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(picture, format="svg", metadata={"Date": None, "Description": digest(panels)})
    pyplot.close(figure)


def _line(axes: Axes, line: Line, dodge: float, names: Sequence[str]) -> object:
    """One subject, with bars from the least to the greatest of the rounds."""
    values = [value for _, value in line.points]
    bars = [[each.median - each.least for each in values], [each.greatest - each.median for each in values]]
    at = [x * dodge for x, _ in line.points]
    return axes.errorbar(at, [each.median for each in values], bars, label=line.name, **_style(line.name, names))


def _style(name: str, names: Sequence[str]) -> dict[str, object]:
    bars = {"elinewidth": 1, "capsize": 2}
    if name in CEILINGS:
        return {"color": CEILING, "linestyle": DASHES[CEILINGS.index(name)], "linewidth": 1.2, **bars}
    ours = [each for each in names if each.startswith(OURS)]
    if name in ours:
        return {"color": OURS_COLOURS[ours.index(name)], "linewidth": 2.6, "marker": "o", "zorder": 3, **bars}
    number = [each for each in names if each not in (*ours, *CEILINGS)].index(name)
    return {"color": PEER_COLOURS[number], "linewidth": 1.1, "marker": MARKERS[number], "markersize": 5, **bars}


def _axes(axes: Axes, panel: Panel) -> list[float]:
    """Prepare them; returns the loads."""
    places = sorted({x for line in panel.lines for x, _ in line.points})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.set_xticks(places, [f"{x:.0%}" if x < 1 else f"{x:g}" for x in places], minor=False)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return places
