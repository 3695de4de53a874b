"""The shipped autoscalers over a day of traffic: out, in, and no to and fro; and autoscalers that must not pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.hpa.algorithm import Policy
from tests.hpa.manifests import Hpa, load_cpu, load_hpas
from tests.hpa.simulation import run
from tests.hpa.verdict import problems, turns

HPAS = load_hpas()
CPUS = {name: load_cpu(name) for name in HPAS}


def found(change: Callable[[Hpa], Hpa]) -> list[str]:
    """What is wrong with the run when each autoscaler is changed so."""
    return list(problems(run({name: change(hpa) for name, hpa in HPAS.items()}, CPUS)))


def with_metrics(hpa: Hpa, factor: float = 1.0, *, cpu: bool = True) -> Hpa:
    metrics = [each for each in hpa.metrics if cpu or each.kind != "Resource"]
    return dataclasses.replace(
        hpa, metrics=tuple(dataclasses.replace(each, target=each.target * factor) for each in metrics)
    )


def test_every_component_scales_out_and_back_in() -> None:
    assert found(lambda hpa: hpa) == []


def test_every_component_is_there() -> None:
    assert set(HPAS) >= {"api", "persister"} and sum(name.startswith("worker-") for name in HPAS) >= 3


def test_targets_out_of_reach_never_scale() -> None:
    problem = found(lambda hpa: with_metrics(hpa, 1000))
    assert {f"{name}: it never scaled out of its {HPAS[name].minimum}" for name in ("api", "persister")} <= set(problem)
    assert any("its backlog was down" in each for each in problem) and any("were refused" in each for each in problem)


def test_without_a_window_it_flaps() -> None:
    problem = found(lambda hpa: dataclasses.replace(hpa, down=dataclasses.replace(hpa.down, stabilization_s=0)))
    assert any("it turned" in each for each in problem)


def test_by_depth_alone_it_flaps_too() -> None:
    """A queue that is kept empty asks for no replicas: it is the CPU metric that holds those that keep it so."""
    problem = found(lambda hpa: with_metrics(hpa, cpu=False))
    assert all(any(f"{name}: it turned" in each for each in problem) for name in HPAS if name.startswith("worker-"))


def test_one_that_never_scales_in_is_found() -> None:
    problem = found(lambda hpa: dataclasses.replace(hpa, down=dataclasses.replace(hpa.down, select="Disabled")))
    assert any("worker-sentiment: it ended at 8 replicas" in each for each in problem)


def test_one_that_scales_out_too_slowly_is_found() -> None:
    slow = (Policy("Pods", 1, 300),)
    problem = found(lambda hpa: dataclasses.replace(hpa, up=dataclasses.replace(hpa.up, policies=slow)))
    assert any("worker-sentiment: its backlog was down" in each for each in problem)


@pytest.mark.parametrize(
    ("replicas", "count"), [([1, 1, 2, 4, 4], 0), ([1, 3, 2], 1), ([1, 2, 2, 1, 2], 2), ([5], 0), ([3, 2, 3, 2], 2)]
)
def test_a_turn_is_a_change_of_direction(replicas: list[int], count: int) -> None:
    assert turns(replicas) == count
