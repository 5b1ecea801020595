"""The project's own files, and what a Python source imports: read without importing anything."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pim_model", "hdl", "sim", "host_runtime", "fpga")
GENERATED = frozenset({".git", ".venv", "build", "dist", "__pycache__"})


@dataclass(frozen=True)
class Import:
    """One import of `target` by `source`; lazy when loading `source` does not execute it."""

    source: str
    target: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.source} (line {self.line}) imports {self.target}{' lazily' if self.lazy else ''}"


def within(module: str, package: str) -> bool:
    """Whether `module` is `package` or lies inside it."""
    return module == package or module.startswith(package + ".")


@cache
def project_files() -> tuple[Path, ...]:
    """Files of the project relative to ROOT: tracked or about to be; without git, not what is generated."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        names = subprocess.run(git, check=True, capture_output=True, text=True).stdout.split("\0")
        paths = [Path(name) for name in names if name and (ROOT / name).is_file()]
    else:
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        paths = [path for path in found if not GENERATED & set(path.parts)]
    return tuple(sorted(set(paths)))


def module_name(path: Path) -> str:
    """Dotted name of the module at `path`, which is relative to ROOT."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(text: str, module: str, *, is_package: bool = False) -> list[Import]:
    """All imports in the source `text` of `module`, those by name through importlib among them.

    `from a import b` counts as an import of `a.b`, since b may be a module.
    """
    package = module if is_package else module.rpartition(".")[0]
    return [
        Import(module, target, line, lazy)
        for node, lazy in _walk(ast.parse(text), lazy=False)
        for target, line in _targets(node, package)
    ]


def project_imports() -> list[Import]:
    """Every import in every package and in the tests."""
    found: list[Import] = []
    for path in project_files():
        if path.suffix == ".py" and path.parts[0] in (*PACKAGES, "tests"):
            text = (ROOT / path).read_text(encoding="utf-8")
            found += imports_of(text, module_name(path), is_package=path.name == "__init__.py")
    return found


def _walk(node: ast.AST, *, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Each node with whether it runs later than its module, or never."""
    yield node, lazy
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        for child in node.body:
            yield from _walk(child, lazy=True)
        for child in node.orelse:
            yield from _walk(child, lazy=lazy)
        return
    inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for inner in ast.iter_child_nodes(node):
        yield from _walk(inner, lazy=inside)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _targets(node: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    match node:
        case ast.Import(names=names):
            for alias in names:
                yield alias.name, node.lineno
        case ast.ImportFrom(module=name, names=names, level=level):
            base = name or ""
            if level:
                kept = package.split(".")[: len(package.split(".")) - level + 1]
                base = ".".join([*kept, *([name] if name else [])])
            for alias in names:
                yield base if alias.name == "*" else f"{base}.{alias.name}", node.lineno
        case ast.Call(
            func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str() as target), *_],
        ):
            yield target, node.lineno
