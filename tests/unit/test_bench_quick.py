"""`make bench-quick`: a fall is told from noise, on the machine of the baseline alone."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.load.baseline import Rate, change, lines, ratios, slower
from tests.load.quick import BASELINE, LEVELS, OURS, compare, machine

NAME = f"{OURS} / bare handler, at 64"
ROUNDS, NOISE = 5, 0.06


def rounds(chance: random.Random, ratio: float) -> list[float]:
    return [ratio * chance.gauss(1, NOISE) for _ in range(ROUNDS)]


def verdicts(ratio: float) -> list[bool]:
    """Whether each of 100 runs with such a ratio is called slower than a baseline with a ratio of 1."""
    chance = random.Random(1)
    return [change(rounds(chance, ratio), rounds(chance, 1)).slower for _ in range(100)]


@pytest.mark.parametrize(("ratio", "least", "most"), [(0.7, 97, 100), (1.0, 0, 2), (1.3, 0, 0)])
def test_what_is_slower_is_found_and_noise_is_not(
    ratio: float, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.load.baseline.DRAWS", 1000)
    assert least <= sum(verdicts(ratio)) <= most


def test_a_fall_that_is_certain_but_small_is_tolerated() -> None:
    assert not change([0.97] * ROUNDS, [1.0] * ROUNDS).slower
    assert change([0.94] * ROUNDS, [1.0] * ROUNDS).slower


def test_the_same_runs_have_the_same_verdict() -> None:
    now, before = rounds(random.Random(1), 0.8), rounds(random.Random(2), 1)
    assert change(now, before) == change(now, before)


def test_a_ratio_is_that_of_a_round_by_the_medians_of_its_runs() -> None:
    runs = [Rate(0, "bare handler", 64, rate) for rate in (100, 1, 110)]
    runs += [Rate(0, OURS, 64, rate) for rate in (50, 40, 900)]
    runs += [Rate(1, "bare handler", 64, 200), Rate(1, OURS, 64, 50)]
    assert ratios(runs, OURS) == {NAME: [0.5, 0.25]}


def test_the_table_and_the_sentences_name_what_is_slower() -> None:
    now, before = {NAME: [0.2] * ROUNDS, "new": [1.0]}, {NAME: [0.4] * ROUNDS, "gone": [1.0]}
    head, line = lines(now, before)
    assert head.split()[-3:] == ["99%", "of", "draws"] and line.endswith("-50% to -50%  SLOWER")
    assert slower(now, before) == [f"{NAME}: 50% less than the baseline, with 99% confidence at least 50% less"]
    assert slower(before, now) == []


@pytest.mark.parametrize(
    ("at", "now", "code", "said"),
    [
        (machine(), 0.2, 1, "with 99% confidence at least 50% less"),
        (machine(), 0.4, 0, "nothing has become slower"),
        ({"cpu": "another", "cores": 99}, 0.2, 0, "of another machine"),
    ],
)
def test_only_the_machine_of_the_baseline_is_judged(
    at: dict[str, str | int], now: float, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({"machine": at, "ratios": {NAME: [0.4] * ROUNDS}}), encoding="utf-8")
    assert compare({NAME: [now] * ROUNDS}, baseline) == code
    assert said in capsys.readouterr().out


def test_the_baseline_that_is_kept_is_of_what_is_measured() -> None:
    if BASELINE.exists():
        kept = json.loads(BASELINE.read_text(encoding="utf-8"))["ratios"]
        others = ("bare handler", "saq")
        assert sorted(kept) == sorted(f"{OURS} / {name}, at {level}" for name in others for level in LEVELS)
