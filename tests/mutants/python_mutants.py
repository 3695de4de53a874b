"""Faults in Python: mutmut's operators, at every node that decides something.

Left alone are docstrings, annotations, imports and decorators, log lines, and the words of errors. Of a text only one
change is tried, not also its upper and lower case.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import cast

import libcst as cst
import libcst.matchers as m
from libcst.metadata import ByteSpanPositionProvider, CodeSpan, MetadataWrapper
from mutmut.mutation.mutators import mutation_operators

from tests.mutants.mutation import Mutant

UNTOUCHED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)
DOCSTRING = m.Expr(m.SimpleString() | m.ConcatenatedString())
LOG_CALL = m.Call(func=m.Attribute(value=m.Name("log") | m.Name("prediction_log")))
UNCHANGED_CALL = m.Call(func=m.Name("len") | m.Name("isinstance") | m.Name("cast") | m.Name("TypeVar"))


class _Changes(cst.CSTVisitor):
    """Collects where a node stands that can be changed, and what it is changed to."""

    METADATA_DEPENDENCIES = (ByteSpanPositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[CodeSpan, cst.CSTNode]] = []
        self._words: set[cst.CSTNode] = set()

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, UNTOUCHED) or m.matches(node, DOCSTRING | LOG_CALL):
            return False
        if isinstance(node, cst.Raise):
            self._words.update(cast("list[cst.CSTNode]", m.findall(node, m.SimpleString())))
        if node not in self._words and not m.matches(node, UNCHANGED_CALL):
            for changed in _changed(node):
                self.found.append((self.get_metadata(ByteSpanPositionProvider, node), changed))
        return True


def _changed(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            yield from islice(operator(node), 1 if isinstance(node, cst.BaseString) else None)


def python_mutants(path: str, source: str) -> list[Mutant]:
    """All faults of a module that still compile."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    changes = _Changes()
    wrapper.visit(changes)
    encoded = source.encode()
    mutants = []
    for span, changed in changes.found:
        start, end = span.start, span.start + span.length
        code = (encoded[:start] + wrapper.module.code_for_node(changed).encode() + encoded[end:]).decode()
        if code != source and _compiles(code):
            mutants.append(Mutant(path, encoded.count(b"\n", 0, start) + 1, source, code))
    return mutants


def _compiles(code: str) -> bool:
    try:
        compile(code, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True
