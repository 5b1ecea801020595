"""What a card or board must do before anything else is worth trying on it."""

from __future__ import annotations

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.ops import Pim
from host_runtime.reference import golden_linear
from host_runtime.transport import Transport
from host_runtime.transport.xdma import XdmaTransport
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec
from pim_model.spec.registers import Reg, macro_word

pytestmark = pytest.mark.hw


def test_it_is_what_it_should_be(device: Transport, shape: Config) -> None:
    driver = Driver(device, shape)
    assert driver.errors() == {}
    assert driver.violations() == 0


def test_its_clock_runs(device: Transport, shape: Config) -> None:
    driver = Driver(device, shape)
    before = driver.cycles()
    device.wait_interrupt(1000)
    assert driver.cycles() > before


def test_registers_hold_every_bit(device: Transport) -> None:
    for pattern in (0xFFFFFFFF, 0, 0xA5A5A5A5, 0x5A5A5A5A, *(1 << bit for bit in range(32))):
        for index in range(8):
            device.write_register(macro_word(index), pattern ^ (0x01010101 * index))
        found = [device.read_register(macro_word(index)) for index in range(8)]
        assert found == [pattern ^ (0x01010101 * index) for index in range(8)]


def test_memory_at_odd_places(device: Transport, shape: Config, rng: np.random.Generator) -> None:
    geometry = shape.geometry
    places = {0: 1, 13: 100, 4096 - 7: 5000, geometry.memory_bytes - 777: 777}
    places |= {shape.buffer_base + 5: 1000, shape.buffer_base + shape.buffer_bytes - 33: 33}
    wanted = {address: rng.bytes(size) for address, size in places.items()}
    for address, data in wanted.items():
        device.write_memory(address, data)
    assert {address: device.read_memory(address, size) for address, size in places.items()} == wanted


@pytest.mark.parametrize(("rows", "columns", "tokens"), [(1, 1, 1), (16, 64, 1), (9, 300, 2), (70, 130, 3)])
def test_a_product(
    device: Transport, shape: Config, rows: int, columns: int, tokens: int, rng: np.random.Generator
) -> None:
    def bits(*size: int):
        return (rng.standard_normal(size, np.float32).view(np.uint32) >> 16).astype(np.uint16)

    weights, x, bias = bits(rows, columns), bits(tokens, columns), bits(rows)
    pim = Pim(driver := Driver(device, shape), shape, preload=False)
    found = pim.linear(pim.upload(weights, bias), x)
    np.testing.assert_array_equal(found, golden_linear("aligned", weights, x, bias))
    assert driver.violations() == 0
    assert driver.errors() == {}


def test_a_reset_amid_work(device: Transport, shape: Config) -> None:
    driver, elements = Driver(device, shape), shape.geometry.elements
    for turn in range(10):
        macro = MatVec(
            tag=0,
            rows=shape.geometry.outputs,
            columns=elements,
            weight_row=0,
            input_offset=0,
            output_offset=8192,
        )
        for _ in range(turn % 3):
            driver.submit(macro)
        driver.soft_reset()
        assert device.read_register(Reg.STATUS) == 0
        driver.wait(driver.submit(macro))


def test_no_interrupt_is_lost(device: Transport, shape: Config) -> None:
    driver = Driver(device, shape)
    macro = MatVec(tag=0, rows=3, columns=17, weight_row=0, input_offset=0, output_offset=512)
    for _ in range(300):
        driver.wait(driver.submit(macro))
    assert driver.outstanding == ()
    if isinstance(device, XdmaTransport):
        assert device.missed == 0
