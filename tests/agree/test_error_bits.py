"""Sticky error bits: one for each source, with its first error, until it is cleared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from host_runtime.errors import DeviceError
from pim_model.spec.errors import ErrorSource, Status
from pim_model.spec.registers import Control, Irq, Reg, error_info
from tests.agree.bench import Bench


def overflow(bench: Bench, number: int) -> int:
    """Push into a full queue; word 0 of the macro that is dropped."""
    long = bench.long_macro(1)
    for _ in range(bench.config.macro_queue + 3):  # one runs, one or two are on their way to run
        bench.push(long)
    dropped = bench.macro(tag=number)
    bench.push(dropped)
    return dropped.encode()[0]


def refused(bench: Bench, number: int) -> int:
    with pytest.raises(DeviceError):
        bench.driver.wait(bench.driver.submit(replace(bench.macro(), rows=0)))
    tag = (bench.driver._next_tag - 1) & 0xFFFF
    return tag | Status.BAD_SHAPE << 16


def read(bench: Bench, number: int) -> int:
    bench.read_refused(0xF00 + 4 * number)
    return 0xF00 + 4 * number


def write(bench: Bench, number: int) -> int:
    bench.write_refused(0xF00 + 4 * number)
    return 0xF00 + 4 * number | 1 << 16


def beyond(bench: Bench, number: int) -> int:
    """Read what begins in the activation buffer and ends beyond it; the first word that is not there."""
    end = bench.config.buffer_base + bench.config.buffer_bytes
    bench.transfer_refused(end + 64 * (number - 1) - (32 if number == 1 else 0), 64, write=False)
    return (end + 64 * (number - 1)) // 32


def write_beyond(bench: Bench, number: int) -> int:
    address = bench.config.buffer_base + bench.config.buffer_bytes + 64 * number
    bench.transfer_refused(address, 40, write=True)
    return address // 32


CAUSES = [
    pytest.param(ErrorSource.WINDOW, beyond, id="read-beyond"),
    pytest.param(ErrorSource.WINDOW, write_beyond, id="write-beyond"),
    pytest.param(ErrorSource.REFUSED, refused, id="refused"),
    pytest.param(ErrorSource.REGISTER, read, id="read"),
    pytest.param(ErrorSource.REGISTER, write, id="write"),
]


@pytest.mark.parametrize(("source", "cause"), CAUSES)
def test_first_error_is_kept_until_its_bit_is_cleared(
    bench: Bench, source: ErrorSource, cause: Callable[[Bench, int], int]
) -> None:
    driver = bench.driver
    assert driver.errors() == {}
    first = cause(bench, 1)
    second = cause(bench, 2)
    assert first != second
    assert driver.errors() == {source: first}
    assert bench.read(Reg.IRQ_STATUS) == Irq.ERROR
    bench.write(Reg.ERRORS, ~(1 << source) & 0xFFFFFFFF)
    assert driver.errors() == {source: first}, "only a one clears a bit"
    bench.write(Reg.ERRORS, 1 << source)
    assert driver.errors() == {}
    assert bench.read(Reg.IRQ_STATUS) == 0
    assert bench.transport.read_register(error_info(source)) == first, "stays for whoever reads late"
    third = cause(bench, 3)
    assert driver.errors() == {source: third}
    driver.clear_errors()
    assert driver.errors() == {}


def test_overflow_keeps_the_first_macro_that_was_dropped(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.ERROR)
    word = overflow(bench, 7)
    found = bench.transport.read_register(error_info(ErrorSource.OVERFLOW))
    assert bench.read(Reg.ERRORS) == 1 << ErrorSource.OVERFLOW
    assert found in (word, bench.long_macro(1).encode()[0])
    bench.write(Reg.ERRORS, 1 << ErrorSource.OVERFLOW)
    bench.push(bench.macro(tag=9))
    assert bench.transport.read_register(error_info(ErrorSource.OVERFLOW)) == bench.macro(tag=9).encode()[0]


def test_sources_do_not_touch_each_other(bench: Bench) -> None:
    wanted = {ErrorSource.REFUSED: refused(bench, 1), ErrorSource.REGISTER: read(bench, 1)}
    assert bench.driver.errors() == wanted
    bench.write(Reg.ERRORS, 1 << ErrorSource.REFUSED)
    assert bench.driver.errors() == {ErrorSource.REGISTER: wanted[ErrorSource.REGISTER]}


def test_soft_reset_clears_all(bench: Bench) -> None:
    refused(bench, 1)
    read(bench, 1)
    bench.write(Reg.CONTROL, Control.REFRESH | Control.SOFT_RESET)
    while bench.read(Reg.CONTROL) & Control.SOFT_RESET:
        pass
    assert bench.read(Reg.ERRORS) == bench.read(Reg.IRQ_STATUS) == 0
