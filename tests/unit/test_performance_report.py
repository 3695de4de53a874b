"""The report of measurements: medians, shares of the same round, and where Millstream is behind."""

from __future__ import annotations

from typing import Any

from tests.load.report import DOCUMENT, behind, figures, queue_part, report, shares, written


def run(number: int, name: str, rate: float, p50_ms: float = 1.0, connections: int = 8) -> dict[str, Any]:
    rest = {"p50_ms": p50_ms, "p99_ms": 2.0, "cpu_s_per_1000": 0.1}
    return {"round": number, "name": name, "connections": connections, "rate": rate, **rest}


RUNS = [
    *(run(number, "bare handler", rate) for number, rate in enumerate((100, 200, 400))),
    *(run(number, "Millstream, everysec", rate) for number, rate in enumerate((50, 80, 100))),
    *(run(number, "other", rate, 0.5) for number, rate in enumerate((10, 90, 70))),
]


def test_a_figure_is_the_median_of_its_rounds_with_the_least_and_the_greatest() -> None:
    found = figures(RUNS)["Millstream, everysec"][8, 0]
    assert (found.rate, found.least, found.greatest) == (80, 50, 100)


def test_a_share_is_that_of_the_same_round() -> None:
    assert shares(RUNS, "Millstream, everysec", "bare handler") == {8: 0.4}  # of 0.5, 0.4 and 0.25


def test_where_another_is_better_is_said_and_where_none_is_too() -> None:
    found = figures(RUNS)
    told = behind(found, ["Millstream, everysec"], ["other"], lambda load: f"at {load[0]}")
    assert told == ["- at 8: a p50 of 1.00 ms, other has a p50 of 0.50 ms"]
    assert behind(found, ["Millstream, everysec"], [], str) == ["- nowhere in this table"]


def test_a_part_is_written_between_its_marks() -> None:
    document = "before\n<!-- queue_path -->\nold\n<!-- end of queue_path -->\nafter"
    new = written(document, {"queue_path": queue_part(RUNS)})
    assert new.startswith("before\n<!-- queue_path -->") and new.endswith("<!-- end of queue_path -->\nafter")
    assert "old" not in new and "| other | 70/s (10 to 90)<br>0.50 · 2.00 ms<br>0.100 CPU s |" in new
    assert written(new, {"queue_path": queue_part(RUNS)}) == new


def test_the_report_is_that_of_the_runs_that_are_kept() -> None:
    there = DOCUMENT.read_text(encoding="utf-8")
    assert report() == there and "| bare handler |" in there, "python -m tests.load.report"
