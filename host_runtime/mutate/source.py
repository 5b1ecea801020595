"""A Python source as bytes and syntax tree: what every mutation operator reads, and the edits that it makes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

__all__ = ["Edit", "Place", "Source", "apply"]

_DESIGN = ("Signal", "In", "Out", "Const", "Memory", "StructLayout", "ArrayLayout", "Signature", "StreamFifo")
"""Calls of Amaranth whose arguments are shapes: another width is another wire, and rarely another behaviour."""
_SILENT = ("__init__", "__repr__", "__str__")


@dataclass(frozen=True, order=True)
class Edit:
    """Bytes ``start`` to ``end`` of a source are replaced by ``text``."""

    start: int
    end: int
    text: str


def apply(raw: bytes, edits: Sequence[Edit]) -> bytes:
    """The source after all edits, which may not overlap."""
    for edit in sorted(edits, reverse=True):
        raw = raw[: edit.start] + edit.text.encode() + raw[edit.end :]
    return raw


@dataclass(frozen=True)
class Place:
    """A node with what encloses it, the outermost first."""

    node: ast.AST
    parents: tuple[ast.AST, ...]

    @property
    def parent(self) -> ast.AST:
        return self.parents[-1]

    @property
    def function(self) -> str:
        """Dotted name of the function or class around it; empty at the level of the module."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return ".".join(each.name for each in self.parents if isinstance(each, kinds))

    @property
    def statement(self) -> ast.stmt:
        """The innermost statement that it is part of."""
        chain = (*self.parents, self.node)
        return next(each for each in reversed(chain) if isinstance(each, ast.stmt))

    def inside(self, *kinds: type[ast.AST]) -> bool:
        """Whether one of ``kinds`` lies between it and its statement."""
        chain = self.parents[self.parents.index(self.statement) + 1 :] if self.parents else ()
        return any(isinstance(each, kinds) for each in chain)


class Source:
    """One file below the root of a checkout; ``rtl`` if its Python describes a circuit."""

    def __init__(self, path: PurePosixPath, raw: bytes) -> None:
        self.path = path
        self.raw = raw
        self.rtl = path.parts[0] == "hdl"
        self._tree = ast.parse(raw)
        self._lines = raw.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    @classmethod
    def read(cls, root: Path, path: PurePosixPath) -> Source:
        """The file ``path`` of the checkout ``root``."""
        return cls(path, (root / path).read_bytes())

    @property
    def module(self) -> str:
        """Dotted name."""
        return ".".join(self.path.with_suffix("").parts)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """All nodes in which a fault can be: not docstrings, annotations, declarations of ports, widths, messages."""
        return tuple(self._walk(self._tree, ()))

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """First byte of a node, and the one after its last."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        """A node as it is written."""
        start, end = self.span(node)
        return self.raw[start:end].decode()

    def line_of(self, offset: int) -> int:
        """Number of the line in which a byte lies, from 1 on."""
        return next(number for number, start in enumerate(self._starts[1:], 1) if offset < start)

    def line_start(self, offset: int) -> int:
        """First byte of that line."""
        return self._starts[self.line_of(offset) - 1]

    def _walk(self, node: ast.AST, parents: tuple[ast.AST, ...]) -> Iterator[Place]:
        for field, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not self._silent(node, field, child):
                    below = (*parents, node)
                    yield Place(child, below)
                    yield from self._walk(child, below)

    def _silent(self, node: ast.AST, field: str, child: ast.AST) -> bool:
        if field in ("annotation", "returns", "decorator_list", "type_params", "bases", "keywords"):
            return field != "keywords" or not self._behaves(node, child)
        match child:
            case (
                ast.Expr(value=ast.Constant())
                | ast.Raise()
                | ast.Assert()
                | ast.JoinedStr()
                | ast.ImportFrom()
            ):
                return True
            case ast.FunctionDef(name=name) if name in _SILENT:
                return self.rtl or name != "__init__"
            case ast.If(body=[*_, ast.Raise()]):
                return self.rtl  # what the configuration may be, not what the circuit does
        return self.rtl and isinstance(node, ast.Call) and field == "args" and _name(node.func) in _DESIGN

    @staticmethod
    def _behaves(node: ast.AST, child: ast.AST) -> bool:
        """Whether a keyword is more than the name or the shape of a signal."""
        if isinstance(node, ast.Call) and _name(node.func) in _DESIGN:
            return isinstance(child, ast.keyword) and child.arg == "init"
        return not isinstance(child, ast.keyword) or child.arg not in ("name", "shape", "domain", "depth")


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
