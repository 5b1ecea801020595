"""Bits that flip on chip: told, and nothing that they touch is returned as right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from host_runtime.errors import AccessError, DeviceError
from host_runtime.reference import golden_linear
from pim_model.spec.errors import ErrorSource, Path, Status
from pim_model.spec.isr import Program
from pim_model.spec.macro import MacroOp
from pim_model.spec.registers import Reg
from tests.agree.bench import Bench
from tests.pim_model.test_program import isr

PROGRAM_AT = 2048


@pytest.fixture(autouse=True)
def _with_a_path(bench: Bench) -> None:
    if bench.golden:
        pytest.skip("the golden device has no path on which a bit could flip")
    assert bench.driver.errors() == {}


@contextmanager
def flips(bench: Bench, path: Path, channel: int = 0) -> Iterator[None]:
    bench.write(Reg.INJECT, path | channel << 8)
    yield
    bench.write(Reg.INJECT, 0)


class Product:
    """A small product, its operands in place."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.weights, self.x = bench.bits(3, 17), bench.bits(1, 17)
        bench.place(self.weights)
        bench.write_buffer(0, self.x)

    def fails(self) -> None:
        driver = self.bench.driver
        tag = driver.submit(self.bench.macro())
        with pytest.raises(DeviceError) as caught:
            driver.wait(tag)
        assert (caught.value.status, caught.value.tag) == (Status.PARITY, tag)

    def works(self) -> None:
        golden = golden_linear(self.bench.numerics, self.weights, self.x)[0]
        self.bench.driver.wait(self.bench.driver.submit(self.bench.macro()))
        np.testing.assert_array_equal(self.bench.read_buffer(512, 3), golden)


def told(bench: Bench, path: Path, channel: int = 0) -> None:
    assert bench.driver.errors() == {ErrorSource.PARITY: path | channel << 8}


def channels(bench: Bench) -> tuple[int, ...]:
    return tuple({0, bench.config.geometry.channels - 1})


def test_macro_in_the_queue(bench: Bench) -> None:
    product = Product(bench)
    bench.driver.set_refresh(False)
    with bench.commands() as counts, flips(bench, Path.MACRO):
        product.fails()
    assert counts == {}, "a macro that is not what was pushed issues no DRAM command"
    errors = bench.driver.errors()
    assert errors.pop(ErrorSource.REFUSED) >> 16 == Status.PARITY
    assert errors == {ErrorSource.PARITY: Path.MACRO}
    bench.driver.clear_errors()
    product.works()


def test_input_in_the_buffer(bench: Bench) -> None:
    product = Product(bench)
    with flips(bench, Path.BUFFER):
        bench.write_buffer(0, product.x)
    assert bench.driver.errors() == {}, "not yet read"
    product.fails()
    told(bench, Path.BUFFER)
    bench.write_buffer(0, product.x)
    product.fails()  # until the host has taken note, nothing is trusted
    bench.driver.clear_errors()
    product.works()


def test_result_in_the_buffer(bench: Bench) -> None:
    product = Product(bench)
    with flips(bench, Path.BUFFER):
        bench.driver.wait(bench.driver.submit(bench.macro()))
    assert bench.driver.errors() == {}
    with pytest.raises(AccessError):
        bench.read_buffer(512, 3)
    told(bench, Path.BUFFER)
    bench.driver.clear_errors()
    product.works()


def test_program_in_the_buffer(bench: Bench) -> None:
    everywhere = (1 << bench.config.geometry.channels) - 1
    program = [isr(MacroOp.WR_BIAS, mask=everywhere), isr(MacroOp.RD_MAC, mask=everywhere)]
    words = np.array([each.encode() for each in program], "<u4").tobytes()
    bench.driver.set_refresh(False)
    with flips(bench, Path.BUFFER):
        bench.write_buffer(PROGRAM_AT, words)
    with bench.commands() as counts:
        tag = bench.driver.submit(Program(offset=PROGRAM_AT, count=2))
        with pytest.raises(DeviceError) as caught:
            bench.driver.wait(tag)
    assert caught.value.status == Status.PARITY
    assert counts == {}
    bench.driver.clear_errors()
    bench.write_buffer(PROGRAM_AT, words)
    bench.driver.wait(bench.driver.submit(Program(offset=PROGRAM_AT, count=2)))


@pytest.mark.parametrize("path", [Path.COMMAND, Path.RESULT], ids=lambda path: path.name)
def test_macro_data_of_a_channel(bench: Bench, path: Path) -> None:
    product = Product(bench)
    for channel in channels(bench):
        with flips(bench, path, channel):
            product.fails()
        told(bench, path, channel)
        bench.driver.soft_reset()
        product.works()


def test_data_of_a_write(bench: Bench) -> None:
    for channel in channels(bench):
        address, data = bench.config.geometry.address(5, channel), bench.bytes(64)
        with flips(bench, Path.WRITE, channel):
            bench.transport.write_memory(address, data)
            bench.transport.wait_interrupt(4_000)  # a write is answered before it is done
        told(bench, Path.WRITE, channel)
        bench.driver.clear_errors()
        bench.transport.write_memory(address, data)
        assert bench.transport.read_memory(address, 64) == data
        assert bench.driver.errors() == {}


def test_data_of_a_read(bench: Bench) -> None:
    for channel in channels(bench):
        address, data = bench.config.geometry.address(5, channel), bench.bytes(64)
        bench.transport.write_memory(address, data)
        bench.transport.wait_interrupt(4_000)
        with flips(bench, Path.READ, channel), pytest.raises(AccessError):
            bench.transport.read_memory(address, 64)
        told(bench, Path.READ, channel)
        bench.driver.clear_errors()
        assert bench.transport.read_memory(address, 64) == data


def test_no_flip_is_told_where_none_is(bench: Bench) -> None:
    """Flips on one path, in one channel, do not touch the others."""
    product = Product(bench)
    for path in (Path.MACRO, Path.COMMAND, Path.RESULT):
        with flips(bench, path, bench.config.geometry.channels):  # a channel that is not there
            if path is not Path.MACRO:
                product.works()
    for path in (Path.WRITE, Path.READ):
        with flips(bench, path):
            product.works()
    assert bench.driver.errors() == {}
