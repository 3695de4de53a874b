"""The report of measurements: medians, shares of the same round, where Millstream is behind, and its pictures."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.load.inference_path import RAW, RAW_SORTED
from tests.load.report.__main__ import DOCUMENTS, kept, picture, report, written
from tests.load.report.figures import added_p50_ms, figures, shares
from tests.load.report.panels import FIELDS, PANELS, Panel, digest, inference_panels, queue_panels
from tests.load.report.parts import (
    PARTS,
    behind,
    footprint_part,
    inference_part,
    persist_part,
    persist_summary,
    queue_part,
    queue_summary,
)

OURS = "Millstream, everysec"


def run(number: int, name: str, rate: float, p50_ms: float = 1.0, **load: float) -> dict[str, Any]:
    rest = {"p50_ms": p50_ms, "p99_ms": 2.0, "cpu_s_per_1000": 0.1}
    return {"round": number, "name": name, **(load or {"connections": 8}), "rate": rate, **rest}


RUNS = [
    *(run(number, "bare handler", rate, 0.25) for number, rate in enumerate((100, 200, 400))),
    *(run(number, OURS, rate) for number, rate in enumerate((50, 80, 100))),
    *(run(number, "other", rate, 0.5) for number, rate in enumerate((10, 90, 70))),
    *(run(number, "third", rate) for number, rate in enumerate((20, 60, 40))),
]
INFERENCE = [
    run(0, RAW, 500, clients=0, share=0),
    run(0, RAW_SORTED, 900, clients=0, share=0),
    *(run(0, f"Millstream, {engine}", 400, clients=8, share=0) for engine in ("torch", "as shipped")),
    run(0, "other", 300, clients=8, share=0),
    *(run(0, f"Millstream, {engine}", 150, clients=0, share=0.5) for engine in ("torch", "as shipped")),
    run(0, "other", 150, 0.5, clients=0, share=0.5),
]
PERSIST = [
    {"round": number, "name": name, "rate": rate, "cpu_s_per_1000": 0.05}
    for number, name, rate in [
        *((0, "INSERT unnest", 40_000), (0, "Millstream, persister", 20_000), (0, "COPY", 80_000)),
        *((1, "INSERT unnest", 20_000), (1, "Millstream, persister", 12_000), (1, "COPY", 80_000)),
    ]
]


def test_a_figure_is_the_median_of_its_rounds_with_the_least_and_the_greatest() -> None:
    assert figures(RUNS)[OURS][8, 0].rate == (80, 50, 100)


def test_a_share_is_that_of_the_best_other_of_the_same_round() -> None:
    assert shares(RUNS, OURS, ["bare handler"]) == {(8, 0): 0.4}  # of 0.5, 0.4 and 0.25
    assert shares(RUNS, OURS, ["other", "third"]) == {(8, 0): 100 / 70}  # of 50/20, 80/90 and 100/70
    assert shares(RUNS, OURS, []) == {}


def test_latency_is_compared_with_that_of_the_same_round() -> None:
    assert added_p50_ms(RUNS, OURS, "bare handler") == {(8, 0): 0.75}


def test_where_another_is_better_is_said_and_where_none_is_too() -> None:
    found = figures(RUNS)
    told = behind(found, [OURS], ["other"], lambda load: f"at {load[0]}")
    assert told == ["- at 8: a p50 of 1.00 ms, other has a p50 of 0.50 ms"]
    assert behind(found, [OURS], [], str) == ["- nowhere in this table"]


def test_the_queue_path_is_told_beside_the_bare_handler_and_the_best_queue() -> None:
    assert queue_part(RUNS)[-1] == (
        "Millstream, everysec has of the bare handler's rate: 40% at 8 connections. "
        "Times the rate of the best queue in the same round: 1.4 at 8."
    )
    assert queue_summary(RUNS)[-1] == f"| {OURS} | 8 | 80 | 1.00 | 2.00 | 40% | 0.75 ms |"


def test_the_inference_path_is_told_by_clients_by_shares_and_beside_the_model_alone() -> None:
    told = inference_part(INFERENCE)
    assert "- 50% of the peak: a p50 of 1.00 ms, other has a p50 of 0.50 ms" in told
    assert "| | 8 clients |" in told and "| | 50% of the peak |" in told
    assert told[-1].endswith("on all cores: 500/s as texts come, 900/s sorted by length.")


def test_the_persist_path_is_told_beside_a_bare_insert() -> None:
    assert persist_part(PERSIST)[2:] == [
        "| INSERT unnest | 30,000/s (20,000 to 40,000) | 0.0500 |  |",
        "| Millstream, persister | 16,000/s (12,000 to 20,000) | 0.0500 | 55% |",
        "| COPY | 80,000/s (80,000 to 80,000) | 0.0500 | 300% |",
    ]
    assert persist_summary(PERSIST)[0].startswith(
        "One persister stores 16,000/s (12,000 to 20,000), 55% of the bare INSERT"
    )


def test_what_is_taken_is_told_in_its_unit() -> None:
    starts = [{"round": number, "name": "a start", "value": 1.5 + number, "unit": "s"} for number in range(3)]
    memory = [{"round": number, "name": "a request", "value": 1480 + number, "unit": "bytes"} for number in range(3)]
    assert footprint_part([*starts, *memory])[2:] == [
        "| a start | 2.5 s | 1.5 to 3.5 |",
        "| a request | 1,481 bytes | 1,480 to 1,482 |",
    ]


@pytest.mark.parametrize(
    ("panels", "runs"),
    [(queue_panels(RUNS), RUNS), (inference_panels(INFERENCE), INFERENCE)],
    ids=["queue", "inference"],
)
def test_pictures_show_the_figures_of_the_tables(panels: list[Panel], runs: list[dict[str, Any]]) -> None:
    found = figures(runs)
    for panel in panels:
        for line in panel.lines:
            of_line = [getattr(figure, FIELDS[panel.y]) for figure in found[line.name].values()]
            assert line.points and all(value in of_line for _, value in line.points), (panel.y, line.name)


def test_pictures_have_each_subject_and_the_model_alone_beside_the_rates() -> None:
    assert [line.name for line in queue_panels(RUNS)[0].lines] == ["bare handler", OURS, "other", "third"]
    rate, p50, *over_shares = inference_panels(INFERENCE)
    assert [line.name for line in p50.lines] == ["Millstream, torch", "Millstream, as shipped", "other"]
    assert [line.name for line in rate.lines[3:]] == [RAW, RAW_SORTED]
    assert [[x for x, _ in panel.lines[0].points] for panel in (rate, p50, *over_shares)] == [[8], [8], [0.5], [0.5]]


def test_a_part_is_written_between_its_marks() -> None:
    document = "before\n<!-- queue_path -->\nold\n<!-- end of queue_path -->\nafter"
    new = written(document, {"queue_path": queue_part(RUNS)})
    assert new.startswith("before\n<!-- queue_path -->") and new.endswith("<!-- end of queue_path -->\nafter")
    assert "old" not in new and "| other | 70/s (10 to 90)<br>0.50 · 2.00 ms<br>0.100 CPU s |" in new
    assert written(new, {"queue_path": queue_part(RUNS)}) == new


def test_the_documents_are_those_of_the_runs_that_are_kept() -> None:
    there = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
    assert report() == there, "python -m tests.load.report"
    marks = [mark for text in there.values() for mark in re.findall(r"<!-- (\w+) -->", text)]
    assert sorted(mark for mark in marks if mark in PARTS) == sorted(PARTS)


@pytest.mark.parametrize("name", list(PANELS))
def test_the_pictures_are_those_of_the_runs_that_are_kept(name: str) -> None:
    if runs := kept(name):
        drawn = picture(name).read_text(encoding="utf-8")
        assert digest(PANELS[name](runs)) in drawn, "python -m tests.load.report --plots"
    else:
        assert not picture(name).exists()
