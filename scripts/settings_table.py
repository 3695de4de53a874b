"""The table of environment variables in docs/DEPLOYMENT.md, made from the settings classes.

    python -m scripts.settings_table            print it
    python -m scripts.settings_table --write    put it between the markers in docs/DEPLOYMENT.md

Only defaults are shown: no settings are read from the environment, so no secret of this machine can get in.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from gateway.settings import GatewaySettings
from inference_worker.settings import WorkerSettings
from persister.settings import PersisterSettings
from scripts.markers import between
from shared.service.settings import DatabaseSettings, Settings

Service = tuple[str, type[BaseSettings]]

SERVICES: tuple[Service, ...] = (
    ("gateway", GatewaySettings),
    ("worker", WorkerSettings),
    ("persister", PersisterSettings),
    ("migrate", DatabaseSettings),
)
# The order of the table: what is shared comes first.
CLASSES: tuple[type[BaseSettings], ...] = (
    Settings,
    DatabaseSettings,
    GatewaySettings,
    WorkerSettings,
    PersisterSettings,
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
        lines.append(f"| `{variable}` | {whose} | {_default(kind, name)} | {_meaning(kind, name)} |")
    return "\n".join(lines)


def put(document: str, made: str) -> str:
    """The document with the table between its markers.

    Raises:
        ValueError: the markers are missing or in the wrong order.
    """
    return between(document, BEGIN, made, END)


def _default(kind: type[BaseSettings], name: str) -> str:
    value: Any = kind.model_fields[name].default
    if value is None:
        return "unset"
    return f"`{value.get_secret_value() if isinstance(value, SecretStr) else value}`"


def _meaning(kind: type[BaseSettings], name: str) -> str:
    field = kind.model_fields[name]
    limits = _limits(kind.model_json_schema()["properties"][name])
    return ((field.description or "") + (f" ({limits})" if limits else "")).replace("|", "\\|")


def _limits(schema: Mapping[str, Any]) -> str:
    """What a value must keep to, from the field's JSON schema."""
    if "anyOf" in schema:  # an optional value: its other form is null
        return _limits(schema["anyOf"][0])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    least, most = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    if least is not None and most is not None:
        return f"{least:g} to {most:.15g}"
    parts = [f"at least {least:g}"] if least is not None else []
    parts += [f"above {above:g}"] if above is not None else []
    parts += [f"at most {most:.15g}"] if most is not None else []
    return ", ".join(parts)


def main() -> int:
    """Print the table, or write it into the document."""
    parser = argparse.ArgumentParser(prog="python -m scripts.settings_table", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"put it into docs/{DOCUMENT.name}")
    if not parser.parse_args().write:
        print(table())
        return 0
    DOCUMENT.write_text(put(DOCUMENT.read_text(encoding="utf-8"), table()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
