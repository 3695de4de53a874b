"""`make hpa-plot`: simulate the shipped autoscalers, print what they did, and draw docs/img/hpa-simulation.png."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.hpa.manifests import load_cpu, load_hpas
from tests.hpa.simulation import run
from tests.hpa.verdict import drain_s, problems, turns

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "img" / "hpa-simulation.png"


def main() -> int:
    """Simulate; the exit code says whether the run is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.hpa", description=__doc__)
    parser.add_argument("--no-plot", action="store_true", help="only print: without matplotlib")
    without = parser.parse_args().no_plot
    hpas = load_hpas()
    outcome = run(hpas, {name: load_cpu(name) for name in hpas})
    print(f"{'':<22}{'replicas':>10}{'most held':>11}{'drained after':>15}{'turns':>7}")
    for name, course in outcome.courses.items():
        print(
            f"{name:<22}{f'{min(course.replicas)} → {max(course.replicas)}':>10}{max(course.backlog):>11.0f}"
            f"{drain_s(course, outcome.at_s):>13.0f} s{turns(course.replicas):>7}"
        )
    print(f"refused: {outcome.refused / outcome.offered:.2%} of {outcome.offered:.0f} requests")
    found = list(problems(outcome))
    print("\n".join(found or ["every component scales out and back in"]))
    if not without:
        from tests.hpa.plot import draw  # matplotlib is of the extra `preview` alone

        draw(outcome, PICTURE)
        print(f"drawn: {PICTURE.relative_to(PICTURE.parents[2])}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
