"""What the conformance tests do to a device, in their own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pytest

from host_runtime.bits import U16
from host_runtime.driver import Driver
from host_runtime.errors import AccessError
from host_runtime.monitor import commands_since
from host_runtime.ops import Pim
from host_runtime.transport import Transport, open_transport
from host_runtime.transport.card_socket import CardSocket
from host_runtime.transport.model import ModelTransport
from host_runtime.transport.uart import UartTransport
from host_runtime.transport.xdma import XdmaTransport
from pim_model.mapping.layout import pack
from pim_model.spec.config import Config, config
from pim_model.spec.macro import MatVec
from pim_model.spec.registers import COMPLETION_VALID, Reg, macro_word
from tests.agree.fake_xdma import PATH, FakeXdma
from tests.agree.link_board import LinkBoard
from tests.agree.served import served


@dataclass(kw_only=True)
class Bench:
    """A device, and the driver once a test asks for it."""

    transport: Transport
    way: str
    """One of tests.agree.conftest.DEVICES."""
    config: Config
    numerics: str
    rng: np.random.Generator = field(repr=False)

    @classmethod
    @contextmanager
    def open(
        cls, way: str, name: str, rng: np.random.Generator, numerics: str = "aligned"
    ) -> Iterator[Bench]:
        shape = config(name)
        with ExitStack() as stack:
            opened: Transport
            if way == "uart":
                board = stack.enter_context(LinkBoard(ModelTransport(shape, numerics)))
                opened = UartTransport(board.path)
            elif way == "xdma":
                opened = XdmaTransport(PATH, FakeXdma(ModelTransport(shape, numerics)))
            elif way == "socket":
                path = stack.enter_context(served(shape, numerics))
                opened = XdmaTransport(str(path), CardSocket(str(path)))
            else:
                opened = open_transport(way, shape, numerics)
            stack.enter_context(opened)
            yield cls(transport=opened, way=way, config=shape, numerics=numerics, rng=rng)

    @property
    def golden(self) -> bool:
        """The device behind the transport is the golden one, whose time stands still between macros."""
        return self.way in ("model", "uart", "xdma")

    @cached_property
    def driver(self) -> Driver:
        return Driver(self.transport, self.config)

    @cached_property
    def pim(self) -> Pim:
        return Pim(self.driver, self.config)

    # ------------------------------------------------------------------------------------------ what a device refuses

    def read_refused(self, offset: int) -> None:
        """Read a register that is not there: the device must see it, also where the transport would refuse it."""
        if isinstance(self.transport, XdmaTransport):
            assert self.transport._load(offset) == 0xFFFFFFFF
        else:
            with pytest.raises(AccessError):
                self.transport.read_register(offset)

    def write_refused(self, offset: int) -> None:
        if isinstance(self.transport, XdmaTransport):
            self.transport._store(offset, 1)
        else:
            with pytest.raises(AccessError):
                self.transport.write_register(offset, 1)

    def transfer_refused(self, address: int, size: int, *, write: bool) -> None:
        """Move bytes of which some are not in the data window."""
        if isinstance(self.transport, XdmaTransport):
            with pytest.raises(AccessError):
                self.transport._transfer("h2c_0" if write else "c2h_0", address, size)
        elif write:
            with pytest.raises(AccessError):
                self.transport.write_memory(address, bytes(size))
        else:
            with pytest.raises(AccessError):
                self.transport.read_memory(address, size)

    # ------------------------------------------------------------------------------------------------ random numbers

    def bits(self, *shape: int) -> U16:
        """Finite BF16 of magnitudes around one, both signs, a few zeros."""
        values = self.rng.standard_normal(shape, np.float32)
        values[self.rng.random(shape) < 0.05] = 0
        return (values.view(np.uint32) >> 16).astype(np.uint16)

    def any_bits(self, *shape: int) -> U16:
        """Any 16 bits: infinities, NaN, subnormals and all."""
        return self.rng.integers(0, 1 << 16, shape, dtype=np.uint16)

    def bytes(self, size: int) -> bytes:
        return self.rng.bytes(size)

    # ------------------------------------------------------------------------------------------------------- macros

    def place(self, weights: U16, row: int = 0) -> None:
        """Store a matrix from a DRAM row on, by the back door."""
        image = pack(weights, self.config.geometry)
        self.transport.preload(self.config.geometry.address(row), image.tobytes())
        if self.way == "socket":  # no back door: what was answered is still to be written
            self.transport.wait_interrupt(4_000)

    def write_buffer(self, offset: int, data: bytes | U16) -> None:
        raw = data if isinstance(data, bytes) else data.astype("<u2").tobytes()
        self.transport.write_memory(self.config.buffer_base + offset, raw)

    def read_buffer(self, offset: int, count: int) -> U16:
        """``count`` BF16 of the activation buffer."""
        data = self.transport.read_memory(self.config.buffer_base + offset, 2 * count)
        return np.frombuffer(data, dtype="<u2").astype(np.uint16)

    def macro(self, **fields: int | tuple[int, int] | None) -> MatVec:
        """A valid macro: one output row group, one tile, operands apart; with ``fields`` instead."""
        default = MatVec(tag=1, rows=3, columns=17, weight_row=0, input_offset=0, output_offset=512)
        return replace(default, **fields)  # type: ignore[arg-type]

    def long_macro(self, tag: int) -> MatVec:
        """A macro of two tokens that takes some thousands of cycles, so that others queue up behind it."""
        geometry = self.config.geometry
        groups = min(16, geometry.weight_rows)
        return self.macro(
            tag=tag, rows=groups * geometry.outputs, columns=geometry.elements, tokens=2, output_offset=4096
        )

    def push(self, macro: MatVec | tuple[int, ...]) -> None:
        """Push words without the driver, so that nothing checks or waits."""
        words = macro.encode() if isinstance(macro, MatVec) else macro
        for index, word in enumerate(words):
            self.transport.write_register(macro_word(index), word)
        self.transport.write_register(Reg.MACRO_PUSH, 1)

    def read(self, register: Reg) -> int:
        return self.transport.read_register(register)

    def write(self, register: Reg, value: int) -> None:
        self.transport.write_register(register, value)

    def completion(self, patience: int = 1_000_000) -> tuple[int, int]:
        """Wait for the oldest completion, pop it; (tag, status)."""
        assert self.transport.wait_interrupt(patience), "no completion came"
        word = self.read(Reg.COMPLETION)
        assert word & COMPLETION_VALID
        self.write(Reg.COMPLETION_POP, 1)
        return word & 0xFFFF, word >> 16 & 0xFF

    @contextmanager
    def commands(self) -> Iterator[dict[str, int]]:
        """The commands issued in the block, by name, once it has ended."""
        counts: dict[str, int] = {}
        before = self.driver.command_counts()
        yield counts
        counts |= commands_since(before, self.driver.command_counts())
