"""`make mutants`: are the tests of critical code good enough to notice small faults in it?

Ends with 1 if fewer than 95 % are noticed, or if `equal.toml` names a fault that does not exist.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutants.baseline import baseline
from tests.mutants.mutation import Mutant
from tests.mutants.report import LEAST_KILLED_PERCENT, Report, read_equal, without_equal
from tests.mutants.subjects import KNOWN_BAD, TABLE, mutants_of, subjects
from tests.mutants.trial import Verdict, verdicts, workplaces

ROOT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="files whose path holds the word")
    parser.add_argument("--line", action="append", default=[], type=int, metavar="N", help="faults that begin there")
    parser.add_argument("--sample", type=int, metavar="N", help="try N of the faults, by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: 1)")
    parser.add_argument("--processes", type=int, default=2, help="faults tried at a time (default: 2)")
    parser.add_argument("--known-bad", action="store_true", help="try an example whose test is hollow: it must fail")
    return parser.parse_args()


def main() -> int:
    """Try all faults, or some; the answer is the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave no servers and no copies behind
    options = arguments()
    chosen = dict(subjects(ROOT, KNOWN_BAD if options.known_bad else TABLE, options.only))
    listed = read_equal(Path(__file__).with_name("equal.toml"))
    mutants, stale = without_equal([mutant for path in chosen for mutant in mutants_of(ROOT, path)], listed)
    for each in stale:
        print(f"equal.toml: in {each.path} there is no fault any more that makes of\n  {each.gone}\n  {each.new}")
    if options.line:
        mutants = [mutant for mutant in mutants if mutant.line in options.line]
    if options.sample is not None and options.sample < len(mutants):
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    report = tried(mutants, chosen, options.processes)
    print("\n".join(report.lines()))
    good = report.killed_percent >= LEAST_KILLED_PERCENT
    print(f"{report.killed_percent:.1f} % of the faults were noticed (at least {LEAST_KILLED_PERCENT:.0f})")
    return 0 if good and not stale else 1


def tried(mutants: Sequence[Mutant], files: Mapping[str, Sequence[str]], processes: int) -> Report:
    """Try faults, and print those that survive. At the end the tests must pass again without one."""
    report = Report()
    postgres = any("/integration/" in test for tests in files.values() for test in tests)
    with workplaces(ROOT, processes, postgres=postgres) as places:
        started = time.monotonic()
        known = baseline(places[0], files)
        print(f"{len(mutants)} faults; {len(known.seconds)} tests, {time.monotonic() - started:.0f} s", flush=True)
        for mutant, verdict in verdicts(places, mutants, known):
            report.add(mutant, verdict)
            if verdict is not Verdict.KILLED:
                print(f"{verdict.value}: {mutant}\n", flush=True)
        baseline(places[-1], files)
    return report


if __name__ == "__main__":
    sys.exit(main())
