"""The documentation says what is: every check is a function over a text that names what is wrong in it, with an example
that it must catch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from gateway.app import EVERY_OPERATION
from migrations.settings import MigrateSettings
from scripts import catalogue_table, settings_table
from shared.contract.catalogue import Model
from shared.telemetry import metrics
from tests.hpa.adapter import load_rules

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "k8s/README.md", "k8s/chart/README.md", "models/README.md"),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
ARCHITECTURE = "docs/ARCHITECTURE.md"
DEPLOYMENT = "docs/DEPLOYMENT.md"
MODELS = "models/README.md"
OTHERS_READ = ("PYTHONPATH", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")  # Python's own, and those of buckets
OTHER_PATHS = ("/metrics", "/docs", "/openapi.json")  # routes of the gateway that are not operations of the API

# A check takes a document's text and the folder that its links start from, and yields what is wrong.
Check = Callable[[str, Path], Iterator[str]]

_CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
_MAKE = re.compile(r"\bmake(?:\s+[A-Z_]+=\S+)*[ ]+([a-z][a-z0-9-]*)")
_TARGET = re.compile(r"^([a-z][a-z0-9 -]*):", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_VARIABLE = re.compile(r"\b(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z][A-Z0-9]*(?==))(?![\w…])")
_METRIC = re.compile(r"\bmillstream_\w+")
_SCRIPT = re.compile(r"`(\w+\.lua)`")
_SHELL_VALUE = re.compile(r"\$\w+")
_HOST = re.compile(r"(?:https?://)?localhost:\d+")
_PATH = re.compile(
    r"(?:\b(GET|POST|PUT|PATCH|DELETE) )?(?<![\w./])"
    r"(/(?:api|health|livez|readyz|metrics|docs|openapi|hf(?=/)|v1(?=/)|v2(?=/))[\w./{}-]*)"
)
_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
# Where the stacks read variables that no settings class has.
_READ_BY_THE_STACKS = {
    "Makefile": re.compile(r"\$\((?:or )?\$?\(?([A-Z_]+)\)|^([A-Z_]+) \?=", re.MULTILINE),
    "compose.yaml": re.compile(r"\$\{([A-Z_]+)|^ +([A-Z_]+):$", re.MULTILINE),
    "Dockerfile": re.compile(r"^ARG ([A-Z_]+)", re.MULTILINE),
    "k8s/deployment-*.yaml": re.compile(r"^ +- name: ([A-Z_]+)$", re.MULTILINE),
    "scripts/stack/*.py": re.compile(r"[\"']([A-Z][A-Z_]+)[\"']"),
    "client/millstream_client/connection.py": re.compile(r"[\"']([A-Z][A-Z_]+)[\"']"),
    "docs/site/mkdocs.yml": re.compile(r"!ENV \[([A-Z_]+)"),
    "scripts/gateway.py": re.compile(r"[\"']([A-Z][A-Z_]+)[\"']"),
    "models/models.toml": re.compile(r"\(([A-Z_]+)\)"),
}


def code_of(text: str) -> str:
    """What stands in code blocks and spans: there a word is a name."""
    return "\n".join(block or span for block, span in _CODE.findall(text))


def targets() -> set[str]:
    """The Makefile's targets."""
    return {name for line in _TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")) for name in line.split()}


@cache
def known_variables() -> set[str]:
    """The environment variables that something reads."""
    known = {*settings_table.variables(), *OTHERS_READ}
    for pattern, expression in _READ_BY_THE_STACKS.items():
        for path in ROOT.glob(pattern):
            for match in expression.finditer(path.read_text(encoding="utf-8")):
                known.update(filter(None, match.groups()))
    return known


def declared_metrics() -> set[str]:
    """The metrics of shared/telemetry/metrics.py as Prometheus names them."""
    suffixes = {"counter": "_total", "info": "_info"}
    declared = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    described = [family for each in declared for family in each.describe()]
    return {family.name + suffixes.get(family.type, "") for family in described}


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


def table_is_current(text: str, _: Path) -> Iterator[str]:
    """The table of settings is the one that the settings classes make."""
    if settings_table.put(text, settings_table.table()) != text:
        yield "the table of settings is stale; run: python -m scripts.settings_table --write"


def table_of_keys_is_current(text: str, _: Path) -> Iterator[str]:
    """The table of the catalogue's keys is the one that its classes make."""
    if catalogue_table.put(text, catalogue_table.table()) != text:
        yield "the table of the catalogue's keys is stale; run: python -m scripts.settings_table --write"


def targets_exist(text: str, _: Path) -> Iterator[str]:
    """Every `make target` is in the Makefile."""
    yield from (f"make {name}" for name in sorted(set(_MAKE.findall(code_of(text))) - targets()))


def links_resolve(text: str, folder: Path) -> Iterator[str]:
    """Every relative link leads to a file, and to a heading where it names one."""
    for link in _LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = folder / path
        if path and not target.exists():
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8") if path else text):
            yield f"{link}: no such heading"


def metrics_are_listed(text: str, _: Path) -> Iterator[str]:
    """Every declared metric is listed."""
    yield from sorted(declared_metrics() - set(_METRIC.findall(text)))


def metrics_exist(text: str, _: Path) -> Iterator[str]:
    """Every metric that is named is declared."""
    of_the_adapter = {rule.name for rule in load_rules()}  # what HPAs know, made of what is declared
    roles = {role.name for role in MigrateSettings().roles.values()}
    others = {*of_the_adapter, *roles, "millstream_client"}  # the last is the module of client/
    yield from sorted(set(_METRIC.findall(code_of(text))) - declared_metrics() - others)


def scripts_are_listed(text: str, _: Path) -> Iterator[str]:
    """Every Lua script is listed."""
    yield from sorted({path.name for path in (ROOT / "shared/streams/lua").glob("*.lua")} - set(_SCRIPT.findall(text)))


def variables_exist(text: str, _: Path) -> Iterator[str]:
    """Every environment variable that is named is read by something."""
    yield from sorted(set(_VARIABLE.findall(code_of(text))) - known_variables())


def paths_exist(text: str, _: Path) -> Iterator[str]:
    """Every HTTP path is an operation of the API, with its method where one is named."""
    known = [(each.method, re.sub(r"\{\w+\}", "[^/]+", each.path)) for each in EVERY_OPERATION]
    known += [("GET", re.escape(path)) for path in OTHER_PATHS]
    for method, path in _PATH.findall(_HOST.sub("", _SHELL_VALUE.sub("{value}", code_of(text)))):
        plain = path.rstrip(".")
        if not any(method in ("", each) and re.fullmatch(pattern, plain) for each, pattern in known):
            yield f"{method} {plain}".strip()


def named_tests_exist(text: str, _: Path) -> Iterator[str]:
    """Every test that is named is there."""
    for name, function in _TEST.findall(text):
        path = ROOT / name
        if not path.exists() or not re.search(rf"def {function}\(", path.read_text(encoding="utf-8")):
            yield f"{name}::{function}"


EVERYWHERE = (targets_exist, links_resolve, metrics_exist, variables_exist, paths_exist, named_tests_exist)
LISTS = (metrics_are_listed, scripts_are_listed)
KNOWN_BAD: tuple[tuple[Check, str], ...] = (
    (table_of_keys_is_current, f"{catalogue_table.BEGIN}\n| `[[models]]` | `nome` | | |\n{catalogue_table.END}"),
    (table_is_current, f"{settings_table.BEGIN}\n| `REDIS_URL` | all | `redis://elsewhere` | |\n{settings_table.END}"),
    (targets_exist, "Run `make tea`."),
    (targets_exist, "```\n$ make PYTHON=python3.11 upp\n```"),
    (links_resolve, "See [this](docs/NOWHERE.md)."),
    (links_resolve, "See [this](README.md#no-such-heading)."),
    (links_resolve, "See [this](#no-such-heading)."),
    (links_resolve, "![a picture](docs/img/none.png)"),
    (metrics_are_listed, "`millstream_queue_depth` and no other"),
    (scripts_are_listed, "`publish.lua` and no other"),
    (metrics_exist, "`millstream_queue_dept`"),
    (variables_exist, "Set `REDIS_ADDRESS`."),
    (variables_exist, "```\n$ STAK=native make up\n```"),
    (paths_exist, "`POST /api/v1/predictt`"),
    (paths_exist, "`DELETE /api/v1/predict`"),
    (paths_exist, "`POST /v1/embedding`"),
    (paths_exist, "```\n$ curl -s localhost:8000/healthz\n```"),
    (named_tests_exist, "`tests/unit/test_docs.py::test_of_nothing`"),
    (named_tests_exist, "`tests/unit/test_nothing.py::test_bad_example_is_caught`"),
)


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("check", EVERYWHERE, ids=lambda check: check.__name__)
def test_document_is_true(check: Check, document: str) -> None:
    path = ROOT / document
    assert list(check(path.read_text(encoding="utf-8"), path.parent)) == []


def test_the_table_of_settings_is_current() -> None:
    assert list(table_is_current((ROOT / DEPLOYMENT).read_text(encoding="utf-8"), ROOT)) == []


def test_every_key_of_the_catalogue_is_explained() -> None:
    """Of every class below the catalogue, by its field in the class above: none is missing in the table."""
    assert list(table_of_keys_is_current((ROOT / MODELS).read_text(encoding="utf-8"), ROOT)) == []
    below, waiting = set[type[BaseModel]](), list[type[BaseModel]]([Model])
    while waiting:
        kind = waiting.pop()
        below.add(kind)
        for field in kind.model_fields.values():
            assert field.description
            inside = [field.annotation, *get_args(field.annotation)]
            waiting += [each for each in inside if isinstance(each, type) and issubclass(each, BaseModel)]
    assert below == {kind for _, _, kind in catalogue_table.PLACES}


@pytest.mark.parametrize("check", LISTS, ids=lambda check: check.__name__)
def test_the_architecture_lists_all(check: Check) -> None:
    assert list(check((ROOT / ARCHITECTURE).read_text(encoding="utf-8"), ROOT)) == []


def test_the_example_of_settings_names_what_is_read() -> None:
    named = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) - known_variables() == set()


@pytest.mark.parametrize(("check", "text"), KNOWN_BAD, ids=lambda each: getattr(each, "__name__", None))
def test_bad_example_is_caught(check: Check, text: str) -> None:
    assert list(check(text, ROOT)) != []


def test_every_check_has_a_known_bad_example() -> None:
    assert {check for check, _ in KNOWN_BAD} == {*EVERYWHERE, *LISTS, table_is_current, table_of_keys_is_current}


def test_the_table_is_put_between_its_markers_and_nowhere_else() -> None:
    text = f"before\n{settings_table.BEGIN}\nold\n{settings_table.END}\nafter\n"
    assert settings_table.put(text, "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="markers"):
        settings_table.put("no markers", "new")


def test_a_secrets_default_is_shown_and_its_value_here_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:hunter2@db/millstream")
    made = settings_table.table()
    assert "hunter2" not in made
    assert "`postgresql://millstream@127.0.0.1:5432/millstream`" in made
    assert "| `WORKER_CPUS` | worker | unset |" in made
