"""The import rules, over the source itself: each a function over (path, source), with examples that it must catch.

Edit the lists below when a module is added that must hold a rule, or may break one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
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
    "client/millstream_client",
)
SERVICES = ("gateway", "inference_worker", "persister")
TOGETHER = "inference_worker.dev"

# From the lowest up: what is on a floor imports only that floor and those below it.
FLOORS = (
    ("shared.contract", "shared.service", "shared.telemetry", "shared.postgres", "shared.streams"),
    (
        *("gateway.settings", "gateway.core", "gateway.control", "gateway.upkeep", "gateway.http"),
        *("gateway.console", "gateway.api", "gateway.protocols"),
        *("gateway.components", "gateway.loops", "gateway.app"),
    ),
)
FACES = ("gateway.api", "gateway.protocols")
# A program of its own, which a container starts every few seconds: of the standard library, nothing else.
STANDALONE = "shared/service/healthcheck.py"

# Heavy model libraries: folders (ending in /) and modules that may import them.
MODEL_LIBRARIES = ("torch", "transformers", "safetensors", "tokenizers", "accelerate", "gguf")
MODEL_CODE = ("inference_worker/tasks/", "inference_worker/children/libraries.py", "models/")

REDIS_MODULES = ("shared/streams/", "scripts/stack/streams.py")

HTTP_FREE = ("gateway/core/", "shared/contract/", "shared/telemetry/", "shared/postgres/", "shared/streams/")

DATABASE_LIBRARIES = ("asyncpg", "psycopg", "yoyo", "sqlalchemy", "sqlite3")
DATABASE_MODULES = (
    "shared/postgres/",
    "gateway/control/key_store.py",
    "gateway/core/history.py",
    "persister/database.py",
    "migrations/",
)

# Traces are an extra: what is not installed, or not wanted, is not imported.
TRACE_LIBRARIES = ("opentelemetry",)
TRACE_MODULE = "shared/telemetry/spans.py"

# Decisions only: no I/O, no clock, no chance.
PURE_MODULES = (
    "gateway/control/api_keys.py",
    "gateway/control/bearer.py",
    "gateway/control/claims.py",
    "gateway/control/experiments/assignment.py",
    "gateway/control/experiments/statistics.py",
    "gateway/control/experiments/summary.py",
    "gateway/control/grants.py",
    "gateway/control/signing_keys.py",
    "gateway/control/tokens.py",
    "gateway/core/errors.py",
    "gateway/core/finished.py",
    "gateway/core/order.py",
    "gateway/core/principal.py",
    "gateway/core/retry_after.py",
    "gateway/http/idempotency.py",
    "gateway/http/openapi.py",
    "gateway/http/preferences.py",
    "gateway/api/by_model.py",
    "gateway/api/request_schemas.py",
    "gateway/api/schemas.py",
    "gateway/api/told_schemas.py",
    "gateway/protocols/bodies.py",
    "gateway/protocols/hf_tasks.py",
    "gateway/protocols/v2_outputs.py",
    "gateway/protocols/v2_schemas.py",
    "gateway/protocols/v2_tensors.py",
    "inference_worker/batching.py",
    "inference_worker/children/answers.py",
    "inference_worker/children/wire.py",
    "inference_worker/outcomes.py",
    "inference_worker/triage.py",
    "persister/partitions.py",
    "persister/rows.py",
    "shared/contract/",
    "shared/service/database_url.py",
    "shared/telemetry/traceparent.py",
)
IMPURE_LIBRARIES = (
    *("aiohttp", "asyncio", "asyncpg", "http.client", "io", "logging", "multiprocessing", "os", "pathlib", "psycopg"),
    *("random", "redis", "requests", "secrets", "select", "shutil", "signal", "socket", "subprocess", "tempfile"),
    *("threading", "time", "urllib.request", "uvloop"),
)
IMPURE_CALLS = ("now", "utcnow", "today", "open", "input", "print", "uuid1", "uuid4")

# The client is a package of its own, for people who have nothing else of this project.
CLIENT = "client/millstream_client/"
CLIENT_LIBRARIES = ("httpx2", "millstream_client")
# What its extras bring: folders and modules that may import it.
CLIENT_EXTRAS = {
    "typer": (f"{CLIENT}cli/",),
    "rich": (f"{CLIENT}cli/",),
    "pyarrow": (f"{CLIENT}scoring/tables.py",),
}

Rule = Callable[[str, str], Iterator[str]]


@cache
def imports(source: str) -> Sequence[tuple[int, int, str]]:
    """Line, level (0 is absolute) and dotted name of everything imported, at any depth of the code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, 0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.level, node.module or ""))
            if node.module is not None:  # `from http import client` imports http.client
                found += [(node.lineno, node.level, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def within(name: str, packages: Iterable[str]) -> bool:
    """Whether a dotted name is one of the packages, or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def allowed(path: str, places: Iterable[str]) -> bool:
    """Whether a path is one of the modules, or below one of the folders."""
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def services_stay_apart(path: str, source: str) -> Iterator[str]:
    """A service imports no other service, nor what puts two together for who tries a model."""
    own = path.partition("/")[0]
    others = [*(name for name in SERVICES if name != own), TOGETHER]
    if own in SERVICES and not within(module_of(path), (TOGETHER,)):
        yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, others))


def shared_imports_no_service(path: str, source: str) -> Iterator[str]:
    """`shared` and `migrations` stand below the services."""
    if path.startswith(("shared/", "migrations/")):
        yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, SERVICES))


def floors_stand_on_lower_ones(path: str, source: str) -> Iterator[str]:
    """A package imports only packages on its own floor and below."""
    module = module_of(path)
    for floors in FLOORS:
        own = next((number for number, floor in enumerate(floors) if within(module, (floor,))), None)
        if own is not None:
            above = floors[own + 1 :]
            yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, above))


def faces_need_nothing_of_each_other(path: str, source: str) -> Iterator[str]:
    """The API and the protocols import nothing of each other."""
    for face, other in (FACES, FACES[::-1]):
        if within(module_of(path), (face,)):
            yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, (other,)))


def the_core_knows_no_http(path: str, source: str) -> Iterator[str]:
    """The gateway's core, and what it stands on, import no HTTP server."""
    if allowed(path, HTTP_FREE):
        yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, ("aiohttp",)))


def the_health_check_stands_alone(path: str, source: str) -> Iterator[str]:
    """The container's health check imports the standard library only."""
    if path == STANDALONE:
        yield from (
            f"line {line}: {name}"
            for line, _, name in imports(source)
            if name.partition(".")[0] not in sys.stdlib_module_names
        )


def the_client_stands_alone(path: str, source: str) -> Iterator[str]:
    """The client imports httpx2, what its extras bring where they are needed, and nothing of this project."""
    if path.startswith(CLIENT):
        for line, _, name in imports(source):
            library = name.partition(".")[0]
            known = library in (*CLIENT_LIBRARIES, *sys.stdlib_module_names)
            if not known and not allowed(path, CLIENT_EXTRAS.get(library, ())):
                yield f"line {line}: {name}"
    elif within(module_of(path), (*SERVICES, "shared", "migrations")):
        yield from (f"line {line}: {name}" for line, _, name in imports(source) if within(name, ("millstream_client",)))


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
    if "shared.telemetry.spans" not in source:
        return
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


def module_of(path: str) -> str:
    """The dotted name of a module; a package's is its folder's."""
    return path.removeprefix("client/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def circle_in(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Modules that import one another in a circle, in that order; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which of these modules import which, at any depth of their code and for types alone too."""
    modules = {module_of(path) for path in sources}
    return {
        module_of(path): {name for _, _, name in imports(source) if name in modules} - {module_of(path)}
        for path, source in sources.items()
    }


def called_name(call: ast.Call) -> str:
    """The last part of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


RULES: tuple[Rule, ...] = (
    services_stay_apart,
    shared_imports_no_service,
    floors_stand_on_lower_ones,
    faces_need_nothing_of_each_other,
    the_core_knows_no_http,
    the_health_check_stands_alone,
    the_client_stands_alone,
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
    (services_stay_apart, "inference_worker/check.py", "from inference_worker.dev.memory import Memory"),
    (shared_imports_no_service, "shared/contract/keys.py", "from gateway.app import make_app"),
    (shared_imports_no_service, "migrations/apply.py", "import persister"),
    (floors_stand_on_lower_ones, "shared/contract/keys.py", "from shared.service.settings import Settings"),
    (floors_stand_on_lower_ones, "shared/service/probes.py", "from shared.telemetry.metrics import REGISTRY"),
    (floors_stand_on_lower_ones, "shared/telemetry/spans.py", "def f():\n    from shared.streams import shard"),
    (floors_stand_on_lower_ones, "gateway/core/intake.py", "from gateway.http import problems"),
    (floors_stand_on_lower_ones, "gateway/core/intake.py", "from gateway.upkeep.expiry import Expiry"),
    (floors_stand_on_lower_ones, "gateway/http/openapi.py", "import gateway.api.operations"),
    (floors_stand_on_lower_ones, "gateway/api/predict.py", "if TYPE_CHECKING:\n    from gateway.app import make_app"),
    (floors_stand_on_lower_ones, "gateway/settings.py", "from gateway.core.order import Order"),
    (faces_need_nothing_of_each_other, "gateway/protocols/v2.py", "from gateway.api.queries import PredictQuery"),
    (faces_need_nothing_of_each_other, "gateway/api/predict.py", "import gateway.protocols.asking"),
    (the_core_knows_no_http, "gateway/core/intake.py", "from aiohttp import web"),
    (the_core_knows_no_http, "shared/streams/shard.py", "import aiohttp.web"),
    (the_health_check_stands_alone, STANDALONE, "import aiohttp"),
    (the_health_check_stands_alone, STANDALONE, "from shared.service.settings import Settings"),
    (the_client_stands_alone, f"{CLIENT}client.py", "from shared.contract.ids import uuid7"),
    (the_client_stands_alone, f"{CLIENT}client.py", "import rich"),
    (the_client_stands_alone, f"{CLIENT}cli/program.py", "import pyarrow"),
    (the_client_stands_alone, "gateway/app.py", "from millstream_client import Millstream"),
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
    (services_stay_apart, "inference_worker/dev/application.py", "from gateway.core.intake import Intake"),
    (floors_stand_on_lower_ones, "shared/streams/shard.py", "from shared.contract.keys import Keys"),
    (floors_stand_on_lower_ones, "gateway/api/predict.py", "from gateway.core.order import Order"),
    (floors_stand_on_lower_ones, "gateway/app.py", "from gateway.api.operations import OPERATIONS"),
    (the_core_knows_no_http, "gateway/http/middleware.py", "from aiohttp import web"),
    (the_health_check_stands_alone, STANDALONE, "import http.client"),
    (the_client_stands_alone, f"{CLIENT}client.py", "import httpx2\nfrom millstream_client.calls import Call"),
    (the_client_stands_alone, f"{CLIENT}cli/program.py", "import typer"),
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


def test_no_module_imports_itself_by_way_of_others() -> None:
    sources = {path: (ROOT / path).read_text("utf-8") for path in source_files()}
    assert circle_in(import_graph(sources)) == []


@pytest.mark.parametrize(
    "back", ["from a import f", "def g():\n    import a", "if TYPE_CHECKING:\n    from a import f"]
)
def test_a_circle_is_found_wherever_the_import_stands(back: str) -> None:
    assert set(circle_in(import_graph({"a.py": "import b", "b.py": "import c", "c.py": back}))) == {"a", "b", "c"}


@pytest.mark.parametrize("package", [floor for floors in FLOORS for floor in floors if "." in floor])
def test_every_room_says_who_lives_there(package: str) -> None:
    folder = ROOT / package.replace(".", "/")
    if folder.is_dir():
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
        assert text and "import" in text, "say in two lines what is here, and what it may not import"


def test_every_rule_has_a_known_bad_example() -> None:
    assert {rule for rule, _, _ in KNOWN_BAD} == set(RULES)


@pytest.mark.parametrize(
    "listed", [*REDIS_MODULES, *DATABASE_MODULES, TRACE_MODULE, *PURE_MODULES, *MODEL_CODE, *HTTP_FREE]
)
def test_listed_module_exists(listed: str) -> None:
    assert (ROOT / listed).exists(), "a module was renamed or removed: correct the list"
