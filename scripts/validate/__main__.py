"""`python -m scripts.validate [WORD …]`: install tools; run all checks, or those with a WORD in their name."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from scripts.tools.install import install
from scripts.tools.kit import Kit, kit_of
from scripts.validate import containers, kubernetes, monitoring, security, workflows
from scripts.validate.check import Check, problem

# The slowest come first, so that the rest runs beside them.
CHECKS = (*kubernetes.CHECKS, *security.CHECKS, *monitoring.CHECKS, *containers.CHECKS, *workflows.CHECKS)


def needed(checks: Sequence[Check]) -> list[Kit]:
    """The kits that bring the tools of checks."""
    return list({kit.name: kit for check in checks for tool in check.tools if (kit := kit_of(tool))}.values())


def report(checks: Sequence[Check]) -> int:
    """Run checks side by side and say how each ends; how many failed is returned."""
    failed = 0
    with ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 1) as pool:
        running = {pool.submit(_timed, check): check for check in checks}
        for future in as_completed(running):
            check, (why, seconds) = running[future], future.result()
            failed += why is not None
            what = f"{check.name}: {len(check.good)} good"
            print(f"{'FAILED' if why else 'ok    '} {seconds:5.1f} s  {what}", flush=True)
            if why:
                print(f"       {why}", flush=True)
    return failed


def _timed(check: Check) -> tuple[str | None, float]:
    started = time.monotonic()
    return problem(check), time.monotonic() - started


def main(words: Sequence[str]) -> int:
    """The exit code says whether all checks hold."""
    checks = [check for check in CHECKS if not words or any(word.lower() in check.name.lower() for word in words)]
    if not checks:
        print(f"no check has {' or '.join(words)} in its name; there are:", *[c.name for c in CHECKS], sep="\n  ")
        return 2
    for why in install(needed(checks)):
        print(why, file=sys.stderr)
    started = time.monotonic()
    failed = report(checks)
    print(f"{len(checks) - failed} of {len(checks)} checks hold, after {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
