"""The whole prototype behind its AXI buses, against the golden device."""

from __future__ import annotations

import pytest

from tests.cosim.conftest import Bench

pytestmark = pytest.mark.cosim


@pytest.mark.parametrize("test", ["any_bytes", "refused"])
def test_memory(test: str, bench: Bench) -> None:
    bench("top", "top_memory", test)


@pytest.mark.parametrize(
    "test",
    [
        "no_bubbles",
        "buffer_takes_turns",
        "answers_wait",
        "addresses_wait",
        "four_kilobytes",
        "random_bursts",
    ],
)
def test_bursts(test: str, bench: Bench) -> None:
    bench("top", "top_bursts", test)


@pytest.mark.parametrize(
    "test", ["reset_values", "access_rules", "absent_offsets", "partial_writes", "many_at_once"]
)
def test_registers(test: str, bench: Bench) -> None:
    bench("top", "top_registers", test)


@pytest.mark.slow
@pytest.mark.parametrize("test", ["macros_and_pages", "macros_and_conflicts"])
def test_turns(test: str, bench: Bench) -> None:
    bench("top", "top_turns", test)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "tiny_dual"])
@pytest.mark.parametrize("test", ["macros_beside_pages", "macros_beside_conflicts"])
def test_sharing(test: str, name: str, bench: Bench) -> None:
    bench("top", "top_sharing", test, name=name)


@pytest.mark.parametrize(
    "test",
    [
        "macros",
        "soft_reset",
        "overflow",
        "soft_reset_clears_errors",
    ],
)
def test_macros(test: str, bench: Bench) -> None:
    bench("top", "top_macros", test)


def test_command_scheduler(bench: Bench) -> None:
    """A token's macros and transfers, as the NPU's command scheduler begins them."""
    bench("top", "top_scheduler", "token")


@pytest.mark.parametrize("test", ["silent_channel", "silent_read", "long_silence_in_order"])
def test_errors(test: str, bench: Bench) -> None:
    bench("top", "top_errors", test)


def test_silent_channel_with_dual_row_buffers(bench: Bench) -> None:
    bench("top", "top_errors", "silent_channel", name="tiny_dual")
