"""The import rules, over the source itself: each a function over (path, source), with examples that it must catch.

Edit the lists below when a module is added that must hold a rule, or may break one.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "gateway",
    "inference_worker",
    "persister",
    "shared",
    "migrations",
    "models",
    "monitoring",
    "scripts",
    "client",
)
SERVICES = ("gateway", "inference_worker", "persister")

# Heavy model libraries: folders (ending in /) and modules that may import them.
MODEL_LIBRARIES = ("torch", "transformers", "safetensors", "tokenizers", "accelerate", "gguf")
MODEL_CODE = ("inference_worker/tasks/", "models/")

REDIS_MODULES = ("shared/streams/", "scripts/stack/streams.py")

DATABASE_LIBRARIES = ("asyncpg", "psycopg", "yoyo", "sqlalchemy", "sqlite3")
DATABASE_MODULES = ("gateway/core/history.py", "persister/database.py", "migrations/")

# Traces are an extra: what is not installed, or not wanted, is not imported.
TRACE_LIBRARIES = ("opentelemetry",)
TRACE_MODULE = "shared/telemetry/spans.py"

# Decisions only: no I/O, no clock, no chance.
PURE_MODULES = (
    "gateway/core/finished.py",
    "gateway/http/idempotency.py",
    "gateway/http/openapi.py",
    "gateway/http/preferences.py",
    "gateway/api/schemas.py",
    "inference_worker/batching.py",
    "inference_worker/outcomes.py",
    "persister/partitions.py",
    "persister/rows.py",
    "shared/contract/errors.py",
    "shared/contract/hints.py",
    "shared/contract/ids.py",
    "shared/contract/keys.py",
    "shared/contract/messages.py",
    "shared/contract/options.py",
)
IMPURE_LIBRARIES = (
    *("aiohttp", "asyncio", "asyncpg", "http.client", "io", "logging", "multiprocessing", "os", "pathlib", "psycopg"),
    *("random", "redis", "requests", "secrets", "select", "shutil", "signal", "socket", "subprocess", "tempfile"),
    *("threading", "time", "urllib.request", "uvloop"),
)
IMPURE_CALLS = ("now", "utcnow", "today", "open", "input", "print", "uuid1", "uuid4")

Rule = Callable[[str, str], Iterator[str]]


def imports(source: str) -> Iterator[tuple[int, int, str]]:
    """Line, level (0 is absolute) and dotted name of everything imported, at any depth of the code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, 0, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.level, node.module or ""
            if node.module is not None:  # `from http import client` imports http.client
                for alias in node.names:
                    yield node.lineno, node.level, f"{node.module}.{alias.name}"


def within(name: str, packages: Iterable[str]) -> bool:
    """Whether a dotted name is one of the packages, or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def allowed(path: str, places: Iterable[str]) -> bool:
    """Whether a path is one of the modules, or below one of the folders."""
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def services_stay_apart(path: str, source: str) -> Iterator[str]:
    """A service imports no other service."""
    own = path.partition("/")[0]
    others = [name for name in SERVICES if name != own]
    if own in SERVICES:
        yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, others))


def shared_imports_no_service(path: str, source: str) -> Iterator[str]:
    """`shared` and `migrations` stand below the services."""
    if path.startswith(("shared/", "migrations/")):
        yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, SERVICES))


def model_libraries_in_model_code(path: str, source: str) -> Iterator[str]:
    """PyTorch and its like only where models are: nothing else may take seconds to import."""
    if not allowed(path, MODEL_CODE):
        yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, MODEL_LIBRARIES))


def redis_in_its_modules(path: str, source: str) -> Iterator[str]:
    """The Redis client only in the modules that know keys and streams."""
    if allowed(path, REDIS_MODULES):
        return
    for line, _, name in imports(source):
        if within(name, ("redis", "valkey")):
            yield f"line {line}: {name}"


def database_in_its_modules(path: str, source: str) -> Iterator[str]:
    """A database driver in one module a service."""
    if not allowed(path, DATABASE_MODULES):
        yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, DATABASE_LIBRARIES))


def opentelemetry_in_its_module(path: str, source: str) -> Iterator[str]:
    """OpenTelemetry in one module, which others import for its types, or when traces are turned on."""
    if path == TRACE_MODULE:
        return
    yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, TRACE_LIBRARIES))
    for node in ast.parse(source).body:  # not inside a function, nor below `if TYPE_CHECKING`
        if isinstance(node, ast.ImportFrom) and node.module == "shared.telemetry.spans":
            yield f"line {node.lineno}: {node.module}"


def pure_modules_do_nothing(path: str, source: str) -> Iterator[str]:
    """Pure modules import no I/O, and call no clock and no chance."""
    if not allowed(path, PURE_MODULES):
        return
    yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, IMPURE_LIBRARIES))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and called_name(node) in IMPURE_CALLS:
            yield f"line {node.lineno}: {called_name(node)}()"


def imports_are_absolute(path: str, source: str) -> Iterator[str]:
    """No relative imports: a name says where it is from."""
    yield from (f"line {line}: a relative import" for line, level, _ in imports(source) if level)


def called_name(call: ast.Call) -> str:
    """The last part of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


RULES: tuple[Rule, ...] = (
    services_stay_apart,
    shared_imports_no_service,
    model_libraries_in_model_code,
    redis_in_its_modules,
    database_in_its_modules,
    opentelemetry_in_its_module,
    pure_modules_do_nothing,
    imports_are_absolute,
)

KNOWN_BAD: tuple[tuple[Rule, str, str], ...] = (
    (services_stay_apart, "gateway/app.py", "import persister.rows"),
    (services_stay_apart, "persister/rows.py", "def f():\n    from inference_worker import lane"),
    (shared_imports_no_service, "shared/contract/keys.py", "from gateway.app import make_app"),
    (shared_imports_no_service, "migrations/apply.py", "import persister"),
    (model_libraries_in_model_code, "inference_worker/lane.py", "import torch"),
    (model_libraries_in_model_code, "gateway/app.py", "from transformers import AutoTokenizer"),
    (redis_in_its_modules, "gateway/app.py", "from redis.asyncio import Redis"),
    (redis_in_its_modules, "inference_worker/lane.py", "import redis"),
    (redis_in_its_modules, "gateway/core/intake.py", "from redis.asyncio import Redis"),
    (database_in_its_modules, "gateway/app.py", "import asyncpg"),
    (database_in_its_modules, "shared/service/settings.py", "from psycopg import connect"),
    (opentelemetry_in_its_module, "gateway/http/tracing.py", "from opentelemetry import trace"),
    (opentelemetry_in_its_module, "gateway/http/tracing.py", "from shared.telemetry.spans import Traces"),
    (pure_modules_do_nothing, "shared/contract/messages.py", "import time"),
    (pure_modules_do_nothing, "shared/contract/messages.py", "from http import client"),
    (pure_modules_do_nothing, "inference_worker/batching.py", "import asyncio"),
    (pure_modules_do_nothing, "shared/contract/ids.py", "from datetime import datetime\nnow = datetime.now()"),
    (pure_modules_do_nothing, "shared/contract/ids.py", "import uuid\nfresh = uuid.uuid4()"),
    (imports_are_absolute, "shared/contract/keys.py", "from .ids import uuid7"),
    (imports_are_absolute, "shared/contract/keys.py", "from . import ids"),
)

KNOWN_GOOD: tuple[tuple[Rule, str, str], ...] = (
    (services_stay_apart, "gateway/app.py", "from gateway.api.operations import X\nimport shared.contract.keys"),
    (model_libraries_in_model_code, "inference_worker/tasks/forward.py", "import torch"),
    (redis_in_its_modules, "shared/streams/redis_client.py", "from redis.asyncio import Redis"),
    (redis_in_its_modules, "gateway/app.py", "from shared.streams.shard import open_shard"),
    (redis_in_its_modules, "gateway/app.py", "from shared.streams.redis_client import connect"),
    (database_in_its_modules, "migrations/apply.py", "import psycopg"),
    (
        opentelemetry_in_its_module,
        "gateway/http/tracing.py",
        "if TYPE_CHECKING:\n    from shared.telemetry.spans import Traces",
    ),
    (pure_modules_do_nothing, "gateway/app.py", "import time"),
    (pure_modules_do_nothing, "shared/contract/ids.py", "from datetime import datetime\nday = datetime(2026, 1, 1)"),
)


def source_files() -> list[str]:
    """Every module of the project, as a path from its root."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return sorted(str(file.relative_to(ROOT)) for file in files if "artifacts" not in file.relative_to(ROOT).parts)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_source_keeps_rule(rule: Rule) -> None:
    broken = [f"{path}, {each}" for path in source_files() for each in rule(path, (ROOT / path).read_text("utf-8"))]
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


@pytest.mark.parametrize(("rule", "path", "source"), KNOWN_BAD)
def test_rule_catches(rule: Rule, path: str, source: str) -> None:
    assert list(rule(path, source))


@pytest.mark.parametrize(("rule", "path", "source"), KNOWN_GOOD)
def test_rule_lets_pass(rule: Rule, path: str, source: str) -> None:
    assert not list(rule(path, source))


def test_every_rule_has_a_known_bad_example() -> None:
    assert {rule for rule, _, _ in KNOWN_BAD} == set(RULES)


@pytest.mark.parametrize("listed", [*REDIS_MODULES, *DATABASE_MODULES, TRACE_MODULE, *PURE_MODULES, *MODEL_CODE])
def test_listed_module_exists(listed: str) -> None:
    assert (ROOT / listed).exists(), "a module was renamed or removed: correct the list"
