"""The table of environment variables in docs/DEPLOYMENT.md, made from the settings classes, and that of the catalogue.

    python -m scripts.settings_table            print it
    python -m scripts.settings_table --write    put it between the markers in docs/DEPLOYMENT.md; and the table of the
                                                catalogue's keys (scripts/catalogue_table.py) into models/README.md

Only defaults are shown: no settings are read from the environment, so no secret of this machine can get in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from gateway.settings import GatewaySettings
from inference_worker.settings import WorkerSettings
from migrations.settings import MigrateSettings
from persister.settings import PersisterSettings
from scripts import catalogue_table
from scripts.field_meaning import meaning
from scripts.markers import between
from shared.service.settings import DatabaseSettings, Settings

Service = tuple[str, type[BaseSettings]]

SERVICES: tuple[Service, ...] = (
    ("gateway", GatewaySettings),
    ("worker", WorkerSettings),
    ("persister", PersisterSettings),
    ("migrate", MigrateSettings),
)
# The order of the table: what is shared comes first.
CLASSES: tuple[type[BaseSettings], ...] = (
    Settings,
    DatabaseSettings,
    GatewaySettings,
    WorkerSettings,
    PersisterSettings,
    MigrateSettings,
)
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "DEPLOYMENT.md"
BEGIN = "<!-- settings: made by python -m scripts.settings_table --write -->"
END = "<!-- /settings -->"


def variables(classes: Sequence[type[BaseSettings]] = CLASSES) -> list[str]:
    """The environment variables that the settings classes read, in the table's order, each once."""
    return list(dict.fromkeys(name.upper() for each in classes for name in each.model_fields))


def table(services: Sequence[Service] = SERVICES, classes: Sequence[type[BaseSettings]] = CLASSES) -> str:
    """The Markdown table: variable, services, default, meaning with its limits."""
    lines = ["| variable | service | default | meaning |", "|---|---|---|---|"]
    for variable in variables(classes):
        name = variable.lower()
        using = [(service, kind) for service, kind in services if name in kind.model_fields]
        kind = next(each for each in classes if name in each.model_fields)
        whose = "all" if len(using) == len(services) else ", ".join(service for service, _ in using)
        lines.append(f"| `{variable}` | {whose} | {_default(kind, name)} | {meaning(kind, name)} |")
    return "\n".join(lines)


def put(document: str, made: str) -> str:
    """The document with the table between its markers.

    Raises:
        ValueError: the markers are missing or in the wrong order.
    """
    return between(document, BEGIN, made, END)


def _default(kind: type[BaseSettings], name: str) -> str:
    value: Any = kind.model_fields[name].default
    if value in (None, ""):
        return "unset"
    return f"`{value.get_secret_value() if isinstance(value, SecretStr) else value}`"


def main() -> int:
    """Print the table, or write it into the document."""
    parser = argparse.ArgumentParser(prog="python -m scripts.settings_table", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put both tables into their documents")
    if not parser.parse_args().write:
        print(table())
        return 0
    DOCUMENT.write_text(put(DOCUMENT.read_text(encoding="utf-8"), table()), encoding="utf-8")
    catalogue = catalogue_table.DOCUMENT.read_text(encoding="utf-8")
    catalogue_table.DOCUMENT.write_text(catalogue_table.put(catalogue, catalogue_table.table()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
