"""Generate the JSON files of the Grafana dashboards.

python -m monitoring.dashboards            list stale files
python -m monitoring.dashboards --write    write all files
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from monitoring.dashboards.callers import callers
from monitoring.dashboards.models import models
from monitoring.dashboards.overview import overview
from monitoring.dashboards.persistence import persistence
from monitoring.dashboards.queues import queues

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"
DASHBOARDS = {"overview": overview, "queues": queues, "models": models, "persistence": persistence, "callers": callers}


def files() -> dict[Path, str]:
    """The content of each file."""
    return {FOLDER / f"{name}.json": json.dumps(make(), indent=1) + "\n" for name, make in DASHBOARDS.items()}


def main() -> int:
    """Write the files, or list those that are stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    made = files()
    if parser.parse_args().write:
        for path, text in made.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path.name for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if stale:
        print(f"stale: {', '.join(stale)}; run: python -m monitoring.dashboards --write")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
