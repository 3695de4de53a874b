"""`make chaos`: break everything for some minutes, and see whether every promise was kept."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import uvloop

from tests.chaos.run import Plan, run
from tests.chaos.schedule import FIRST


def chosen() -> Plan:
    """The plan that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the schedule and the load (default: drawn)")
    parser.add_argument("--requests", type=int, default=None, help="least number of accepted requests")
    parser.add_argument("--faults", type=int, default=None, help="how many faults")
    parser.add_argument("--quick", action="store_true", help="a few hundred requests and the faults that matter most")
    parser.add_argument("--appendfsync", choices=("always", "everysec", "no"), default="always")
    parser.add_argument("--redis", type=Path, default=None, help="the program of another Redis, or Valkey")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    plan = quick(seed) if given.quick else Plan(seed)
    named = {name: getattr(given, name) for name in ("requests", "faults") if getattr(given, name) is not None}
    return replace(plan, appendfsync=given.appendfsync, redis=given.redis, **named)


def quick(seed: int) -> Plan:
    """The short form, which also runs in `make test`."""
    return Plan(seed, requests=400, faults=len(FIRST), clients=12, workers=2)


def main() -> int:
    """Run; the exit code says whether every promise was kept. The logs of a run that broke one are kept."""
    plan = chosen()
    folder = Path(tempfile.mkdtemp(prefix="millstream-chaos-"))
    print(f"seed {plan.seed}: {plan.faults} faults, at least {plan.requests} accepted requests", flush=True)
    outcome = uvloop.run(run(plan, folder))
    print(f"\n{outcome.table()}")
    if outcome.verdict.violations():
        print(f"logs: {folder}; again: python -m tests.chaos --seed {plan.seed}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
