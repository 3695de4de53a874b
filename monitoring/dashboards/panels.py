"""Parts of Grafana dashboards, in its JSON model. Pure functions; `dashboard` assigns ids and positions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]
Query = tuple[str, str]  # expression, legend
Steps = Sequence[tuple[float | None, str]]  # from this value on, this colour; the first starts at None

SOURCE: Json = {"type": "prometheus", "uid": "prometheus"}
TAG = "millstream"
COLUMNS = 24
GOOD: Steps = ((None, "green"),)
NOTHING: Json = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": "no data", "color": "red", "index": 0}},
}


def stat(title: str, expression: str, unit: str, description: str, steps: Steps = GOOD, decimals: int = 0) -> Json:
    """One number, coloured by thresholds, with a sparkline behind it.

    Red where there is no data: of a missing series Grafana would show the last value that it had within the time
    range, or nothing at all in the colour of the lowest step.
    """
    options = {
        "reduceOptions": {"calcs": ["last"], "fields": "", "values": False},
        "colorMode": "background_solid",
        "graphMode": "area",
        "textMode": "value",
    }
    field = {**_field(unit, steps, decimals=decimals), "color": {"mode": "thresholds"}, "mappings": [NOTHING]}
    return _panel("stat", title, [(f"{expression} or vector(NaN)", "")], description, options, field)


def graph(
    title: str,
    queries: Sequence[Query],
    unit: str,
    description: str,
    steps: Steps = (),
    *,
    stacked: bool = False,
    least: float | None = 0,
) -> Json:
    """Lines over time; thresholds are drawn as lines of their own."""
    custom: Json = {"fillOpacity": 40 if stacked else 8, "lineWidth": 1, "showPoints": "never", "spanNulls": False}
    custom["stacking"] = {"mode": "normal" if stacked else "none", "group": "A"}
    custom["thresholdsStyle"] = {"mode": "line" if steps else "off"}
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    field = _field(unit, ((None, "transparent"), *steps) if steps else GOOD, least=least)
    field["color"] = {"mode": "palette-classic"}
    field["custom"] = custom
    return _panel("timeseries", title, queries, description, options, field)


def heatmap(title: str, expression: str, unit: str, description: str) -> Json:
    """A histogram over time; the expression keeps the label `le`."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "steps": 64, "exponent": 0.5},
        "yAxis": {"unit": unit, "axisPlacement": "left", "reverse": False},
        "rowsFrame": {"layout": "le"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": True},
    }
    panel = _panel("heatmap", title, [(expression, "{{le}}")], description, options, {"custom": {}})
    panel["targets"][0]["format"] = "heatmap"
    return panel


def table(title: str, by: Sequence[str], columns: Mapping[str, tuple[str, str]], description: str) -> Json:
    """A row for each combination of the labels `by`, and a column for each (expression, unit)."""
    panel = _panel("table", title, [(expression, "") for expression, _ in columns.values()], description, {}, {})
    names = dict(zip((target["refId"] for target in panel["targets"]), columns, strict=True))
    for target in panel["targets"]:
        target.update(format="table", instant=True, range=False)
    panel["transformations"] = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "renameByName": {f"Value #{ref}": name for ref, name in names.items()},
                "indexByName": {label: place for place, label in enumerate(by)},
            },
        },
    ]
    panel["fieldConfig"]["overrides"] = [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
        for name, (_, unit) in columns.items()
    ]
    return panel


def variable(name: str, query: str, description: str) -> Json:
    """A variable that selects values of a label, by default all."""
    return {
        "name": name,
        "type": "query",
        "label": name,
        "description": description,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all", "selected": True},
    }


def dashboard(
    uid: str, title: str, description: str, rows: Sequence[tuple[str, int, Sequence[Json]]], variables: Sequence[Json]
) -> Json:
    """A dashboard of titled rows; the panels of a row share its height, and its width equally."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [_links()],
        "templating": {"list": list(variables)},
        "panels": list(_placed(rows)),
    }


def _placed(rows: Sequence[tuple[str, int, Sequence[Json]]]) -> Iterator[Json]:
    numbers = itertools.count(1)
    top = 0
    for title, height, panels in rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"type": "row", "id": next(numbers), "title": title, "collapsed": False, "panels": [], "gridPos": place}
        top += 1
        for index, panel in enumerate(panels):
            left, right = (round(place * COLUMNS / len(panels)) for place in (index, index + 1))
            yield {**panel, "id": next(numbers), "gridPos": {"x": left, "y": top, "w": right - left, "h": height}}
        top += height


def _links() -> Json:
    return {
        "title": "Millstream",
        "type": "dashboards",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "the other dashboards, with the same time range and variables",
        "url": "",
    }


def _panel(kind: str, title: str, queries: Sequence[Query], description: str, options: Json, field: Json) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": [_target(chr(ord("A") + index), *query) for index, query in enumerate(queries)],
        "options": options,
        "fieldConfig": {"defaults": field, "overrides": []},
    }


def _target(ref: str, expression: str, legend: str) -> Json:
    expr = re.sub(r"\s+", " ", expression).strip()
    return {"refId": ref, "datasource": SOURCE, "expr": expr, "legendFormat": legend or "__auto", "range": True}


def _field(unit: str, steps: Steps, *, least: float | None = None, decimals: int | None = None) -> Json:
    field: Json = {
        "unit": unit,
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]},
    }
    if least is not None:
        field["min"] = least
    if decimals is not None:
        field["decimals"] = decimals
    return field
