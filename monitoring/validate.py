"""`make validate`: the tools' own checks of everything here, each also shown to refuse a file that is known to be bad.

A check whose tool is missing fails, and says how to get the tool.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jsonschema

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "monitoring"
BAD = ROOT / "tests" / "fixtures" / "monitoring"
CACHE = ROOT / ".cache" / "grafana-schema"
NPM_PACKAGES = ("@grafana/schema@13.2.3", "ts-json-schema-generator@2.10.0")
TIMEOUT_S = 300


class Refused(Exception):
    """A file is not valid; the message says why."""


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        tool: a program that it needs.
        get: how to get that.
        good: the files that must pass, all in one go.
        bad: a file that must not.
        run: raises `Refused` where the files are not valid.
    """

    name: str
    tool: str
    get: str
    good: tuple[Path, ...]
    bad: Path
    run: Callable[[Sequence[Path]], None]


def command(*words: str) -> Callable[[Sequence[Path]], None]:
    """A program that is given the files after these words, and ends with another code than 0 where one is bad."""

    def run(paths: Sequence[Path]) -> None:
        _output([*words, *map(str, paths)])

    return run


def one_by_one(*words: str) -> Callable[[Sequence[Path]], None]:
    """The same for a program that takes one file."""

    def run(paths: Sequence[Path]) -> None:
        for path in paths:
            _output([*words, str(path)])

    return run


def grafana(paths: Sequence[Path]) -> None:
    """Validate dashboards against Grafana's own schema, strictly: unknown fields are refused."""
    validator = jsonschema.Draft7Validator(json.loads(grafana_schema().read_text(encoding="utf-8")))
    for path in paths:
        for error in validator.iter_errors(json.loads(path.read_text(encoding="utf-8"))):
            raise Refused(f"{path.name}: {error.json_path}: {error.message[:300]}")


def compose(paths: Sequence[Path]) -> None:
    """Have docker compose read files."""
    for path in paths:
        words = ["docker", "compose", f"--file={path}", "config", "--quiet"]
        _output(["env", "POSTGRES_PASSWORD=none", "REDIS_PASSWORD=none", "GRAFANA_PASSWORD=none", *words])


def has_compose() -> bool:
    """Whether docker compose is here: it is the one tool that is optional."""
    try:
        _output(["docker", "compose", "version"])
    except (Refused, OSError):
        return False
    return True


def grafana_schema() -> Path:
    """The JSON schema of dashboards, made from Grafana's package once and kept."""
    schema = CACHE / f"{'-'.join(each.rsplit('@', 1)[1] for each in NPM_PACKAGES)}.json"
    if not schema.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        _output(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", f"--prefix={CACHE}"]
            + list(NPM_PACKAGES)
        )
        modules = CACHE / "node_modules"
        types = modules / "@grafana/schema/dist/types/raw/dashboard/x/types.gen.d.ts"
        made = _output(
            [str(modules / ".bin/ts-json-schema-generator"), f"--path={types}", "--type=Dashboard", "--no-type-check"]
        )
        schema.write_text(made, encoding="utf-8")
    return schema


def _output(words: list[str]) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise Refused(f"{words[0]}: {(done.stderr.strip() + ' ' + done.stdout.strip()).strip()[-2000:]}")
    return done.stdout


PROMETHEUS = "Debian: apt install prometheus; elsewhere the Prometheus release has it"
ALERTMANAGER = "Debian: apt install prometheus-alertmanager; elsewhere the Alertmanager release has it"
CHECKS = (
    Check(
        "Prometheus configuration",
        "promtool",
        PROMETHEUS,
        (HERE / "prometheus.yml", HERE / "prometheus.compose.yml"),
        BAD / "prometheus.yml",
        one_by_one("promtool", "check", "config"),
    ),
    Check(
        "recording and alert rules",
        "promtool",
        PROMETHEUS,
        tuple(sorted((HERE / "rules").glob("*.yml"))),
        BAD / "rules.yml",
        command("promtool", "check", "rules"),
    ),
    Check(
        "tests of the rules",
        "promtool",
        PROMETHEUS,
        tuple(sorted((HERE / "rules" / "tests").glob("*.yml"))),
        BAD / "rule_test.yml",
        command("promtool", "test", "rules"),
    ),
    Check(
        "Alertmanager configuration",
        "amtool",
        ALERTMANAGER,
        (HERE / "alertmanager.yml",),
        BAD / "alertmanager.yml",
        command("amtool", "check-config"),
    ),
    Check(
        "Grafana dashboards",
        "npm",
        "Debian: apt install npm; elsewhere Node.js brings it",
        tuple(sorted((HERE / "grafana" / "dashboards").glob("*.json"))),
        BAD / "dashboard_unknown_field.json",
        grafana,
    ),
)

COMPOSE = Check(
    "compose file",
    "docker",
    "Docker with its compose plugin",
    (ROOT / "compose.yaml",),
    BAD / "compose.yaml",
    compose,
)


def problem(check: Check) -> str | None:
    """Why a check fails; None where it holds."""
    if shutil.which(check.tool) is None:
        return f"{check.tool} is not installed. {check.get}"
    try:
        check.run(check.good)
    except Refused as refused:
        return str(refused)
    try:
        check.run([check.bad])
    except Refused:
        return None
    return f"{check.bad.relative_to(ROOT)} is known to be bad and passed: this check finds nothing"


def main() -> int:
    """Run all checks; the exit code says whether all hold."""
    failed = 0
    checks = [*CHECKS, COMPOSE] if has_compose() else CHECKS
    for check in checks:
        why = problem(check)
        failed += why is not None
        print(
            f"{'FAILED' if why else 'ok    '} {check.name} ({len(check.good)} files){f': {why}' if why else ''}",
            flush=True,
        )
    if COMPOSE not in checks:
        print(f"left out: {COMPOSE.name}; it needs {COMPOSE.get}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
