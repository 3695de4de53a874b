"""What the code of a service can reach of Redis, read from its source: nothing is run.

The names that stand in a service's own code are followed into `shared.streams`: whatever class and method they may mean
counts as used, and the names that stand there are followed in turn. So this finds too much rather than too little.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_STREAMS = Path("shared/streams")
_CLIENTS = ("redis", "_redis", "_generations_at", "pipe", "pubsub")  # as the code calls what sends commands
_WORDS = {"memory_usage": "MEMORY USAGE"}


class Part(NamedTuple):
    """A function or method: the names that stand in it, and the commands and scripts that it uses."""

    owner: str
    name: str
    names: frozenset[str]
    commands: frozenset[str]
    scripts: frozenset[str]


def reachable(service: str) -> tuple[set[str], set[str], set[str]]:
    """The scripts and the commands that a service's code can reach, by its package's name, and all names on the way."""
    names = set().union(*(_names(ast.parse(path.read_text(encoding="utf-8"))) for path in Path(service).rglob("*.py")))
    parts = [part for path in sorted(_STREAMS.glob("*.py")) for part in _parts(path)]
    scripts: set[str] = set()
    commands: set[str] = set()
    while reached := [part for part in parts if _is_meant(part, names)]:
        parts = [part for part in parts if part not in reached]
        names = names.union(*(part.names for part in reached))
        scripts = scripts.union(*(part.scripts for part in reached))
        commands = commands.union(*(part.commands for part in reached))
    return scripts, commands, names


def _is_meant(part: Part, names: set[str]) -> bool:
    return part.owner in {*names, ""} and (part.name in names or part.name.startswith("__"))


def _parts(path: Path) -> Iterator[Part]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            loaded = dict(_loaded(node))
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield _part(node.name, method, loaded)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _part("", node, {})


def _part(owner: str, function: ast.FunctionDef | ast.AsyncFunctionDef, loaded: dict[str, str]) -> Part:
    names = frozenset(_names(function))
    scripts = (
        () if function.name == "__init__" else [script for attribute, script in loaded.items() if attribute in names]
    )
    return Part(owner, function.name, names, frozenset(_commands(function)), frozenset(scripts))


def _loaded(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """The scripts that a class loads, by the attribute that holds each."""
    for each in ast.walk(node):
        if (
            isinstance(each, ast.Assign)
            and isinstance(each.value, ast.Call)
            and isinstance(each.targets[0], ast.Attribute)
        ):
            called = each.value.func
            if isinstance(called, ast.Attribute) and called.attr == "script":
                (name,) = each.value.args
                assert isinstance(name, ast.Constant)
                yield each.targets[0].attr, str(name.value)


def _commands(function: ast.AST) -> Iterator[str]:
    for each in ast.walk(function):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            client = each.func.value
            name = (
                client.attr if isinstance(client, ast.Attribute) else client.id if isinstance(client, ast.Name) else ""
            )
            if name in _CLIENTS:
                word = each.func.attr
                yield _WORDS.get(word) or word.replace("xinfo_", "xinfo ").upper()


def _names(tree: ast.AST) -> set[str]:
    found = set()
    for each in ast.walk(tree):
        if isinstance(each, ast.Name):
            found.add(each.id)
        elif isinstance(each, ast.Attribute):
            found.add(each.attr)
    return found
