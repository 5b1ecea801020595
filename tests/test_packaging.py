"""A wheel carries every file of the packages, whatever its kind, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.source_tree import PACKAGES, ROOT, project_files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of the tree as it is, built without network or isolation."""
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    done = subprocess.run(build, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = target.glob("ianus-*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_exactly_the_packages(wheel: zipfile.ZipFile) -> None:
    shipped = {Path(name) for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {path for path in project_files() if path.parts[0] in PACKAGES}
    assert shipped == ours, f"missing: {sorted(ours - shipped)}; unexpected: {sorted(shipped - ours)}"


def test_wheel_holds_native_sources_and_model(wheel: zipfile.ZipFile) -> None:
    """By name, so that a folder which vanished from the tree is noticed too."""
    names = [Path(name) for name in wheel.namelist()]
    for folder, suffix in (("sim/native", ".cpp"), ("sim/native", ".h"), ("sim", ".vlt")):
        assert any(path.is_relative_to(folder) and path.suffix == suffix for path in names), (
            f"{folder}: no {suffix}"
        )
    model = Path("host_runtime/llm/embedded/model")
    assert any(path.is_relative_to(model) and path.suffix == ".safetensors" for path in names), (
        f"{model}: no weights"
    )


def test_wheel_declares_command(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "ianus = host_runtime.cli:main" in wheel.read(entry_points).decode()


def test_every_dependency_states_its_reason_and_an_upper_bound() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    requirements = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    foreign = [requirement for requirement in requirements if not requirement.startswith("ianus[")]
    assert foreign
    lines = text.splitlines()
    for requirement in foreign:
        assert any(mark in requirement for mark in ("<", "==", "~=")), f"{requirement} has no upper bound"
        at = next(number for number, line in enumerate(lines) if f'"{requirement}"' in line)
        assert "#" in lines[at] or lines[at - 1].lstrip().startswith("#"), f"{requirement} gives no reason"
