"""The coverage gate: `python -m scripts.coverage_gate coverage.json`, after `coverage json`.

Two limits, both of lines and branches together: one for everything, a higher one for each module that the pipeline's
guarantees rest on. The limits and the list stand in pyproject.toml under [tool.millstream].
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORST_SHOWN = 8


@dataclass(frozen=True)
class Limits:
    """Least percentages, and the modules that the higher one holds for."""

    overall: float
    critical: float
    critical_modules: Sequence[str]


def read_limits(pyproject: Mapping[str, Any]) -> Limits:
    """The limits that pyproject.toml sets."""
    table = pyproject["tool"]["millstream"]
    return Limits(table["least_coverage"], table["least_critical_coverage"], tuple(table["critical_modules"]))


def problems(report: Mapping[str, Any], limits: Limits) -> Iterator[str]:
    """Everything in a coverage report that falls short; a critical module that is missing from it does, too."""
    overall = report["totals"]["percent_covered"]
    if overall < limits.overall:
        yield f"overall coverage {overall:.1f} % is below {limits.overall:.0f} %"
    if not report["totals"].get("num_branches"):
        yield "branches were not measured"
    for module in limits.critical_modules:
        file = report["files"].get(module)
        if file is None:
            yield f"{module} is critical and was not measured: was it renamed?"
        elif (covered := file["summary"]["percent_covered"]) < limits.critical:
            missing = ", ".join(map(str, file["missing_lines"])) or "branches only"
            yield f"{module} {covered:.1f} % is below {limits.critical:.0f} % (missing lines: {missing})"


def least_covered(report: Mapping[str, Any]) -> Iterator[str]:
    """The least covered files, for whoever looks for the next test to write."""
    files = sorted(report["files"].items(), key=lambda each: each[1]["summary"]["percent_covered"])
    for name, file in files[:WORST_SHOWN]:
        yield f"  {file['summary']['percent_covered']:5.1f} %  {name}"


def main(arguments: Sequence[str]) -> int:
    """Judge a report; the exit code is 1 where it falls short."""
    report = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    limits = read_limits(tomllib.loads(pyproject.read_text(encoding="utf-8")))
    print(f"coverage, lines and branches: {report['totals']['percent_covered']:.1f} % overall; least covered:")
    print("\n".join(least_covered(report)))
    found = list(problems(report, limits))
    for problem in found:
        print(f"coverage gate: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
