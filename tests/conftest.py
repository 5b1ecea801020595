"""What every test may use: one seed, a generator drawn from it, shared material, a one-line reproduction."""

from __future__ import annotations

import shlex
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from find_libpython import find_libpython
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import DirectoryBasedExampleDatabase

ROOT = Path(__file__).resolve().parent.parent
HYPOTHESIS_HOME = ROOT / "build" / "hypothesis"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=1, help="seed of every random test (default: 1)")
    parser.addoption(
        "--columns",
        type=int,
        default=32000,
        help="random MAC columns through the RTL device (default: 32000)",
    )
    parser.addoption(
        "--netlist",
        action="store_true",
        help="boards as they were synthesised, not as RTL, and 32 predictions on them (most of an hour)",
    )


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads its own option
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(config.getoption("--seed"))
    set_hypothesis_home_dir(HYPOTHESIS_HOME)
    # No deadline: a loaded machine must not fail a test. pytest-timeout catches a hang.
    hypothesis.settings.register_profile(
        "ianus",
        deadline=None,
        print_blob=True,
        database=DirectoryBasedExampleDatabase(HYPOTHESIS_HOME / "examples"),
    )
    hypothesis.settings.load_profile("ianus")


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--seed')} (another: --seed N)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip cocotb benches where the simulator could not load Python."""
    benches = [item for item in items if item.get_closest_marker("cosim")]
    if benches and find_libpython() is None:
        reason = "cocotb needs the shared libpython (on Debian: apt install libpython3-dev)"
        for item in benches:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to each failure the command that repeats it."""
    report = yield
    if report.failed:
        command = f"pytest {shlex.quote(item.nodeid)} --seed {item.config.getoption('--seed')}"
        report.sections.append(("reproduce", command))
    return report


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run, for what is not a numpy generator: a cocotb bench, a Verilated model."""
    value: int = pytestconfig.getoption("--seed")
    return value


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> Iterator[np.random.Generator]:
    """A generator of this test's own: the same numbers alone, in any order and on any worker.

    Its report gets a digest of what was drawn, which tells whether two seeds were two.
    """
    generator = np.random.default_rng([seed, zlib.crc32(request.node.nodeid.encode())])
    yield generator
    state = repr(generator.bit_generator.state)
    request.node.user_properties.append(("stimulus", f"{zlib.crc32(state.encode()):08x}"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Material beside the repository that is no part of it; the test is skipped where there is none."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("no shared material beside the repository (../shared)")
    return path
