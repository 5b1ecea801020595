"""The UART transport on a line that loses, damages and repeats: what arrives is right, and happens once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import AccessError, LinkDown, TransportError
from host_runtime.ops import Pim
from host_runtime.transport.model import ModelTransport
from host_runtime.transport.uart import ATTEMPTS, UartTransport
from pim_model.spec.config import config
from pim_model.spec.link import MOST_WAIT, START
from pim_model.spec.registers import IDENTITY, Reg
from tests.agree.link_board import Fault, LinkBoard

TINY = config("tiny")
BASE = TINY.buffer_base


def lost(when: Callable[[int], bool]) -> Fault:
    return lambda number, frame: b"" if when(number) else frame


def damaged(when: Callable[[int], bool]) -> Fault:
    """One bit, somewhere behind START."""
    return lambda n, frame: frame[:2] + bytes((frame[2] ^ 0x10,)) + frame[3:] if when(n) else frame


def after_noise(when: Callable[[int], bool]) -> Fault:
    """Bytes before it, among them some that look like the start of an answer."""
    return lambda n, frame: bytes((0x00, START, 0x07, 0x00, 0x02, START)) + frame if when(n) else frame


def every(step: int, at: int = 1) -> Callable[[int], bool]:
    return lambda number: number % step == at


FAULTS = {
    "requests lost": {"requests": lost(every(5))},
    "answers lost": {"answers": lost(every(5))},
    "requests damaged": {"requests": damaged(every(5))},
    "answers damaged": {"answers": damaged(every(5))},
    "answers after noise": {"answers": after_noise(every(3))},
    "answers twice": {"answers": lambda n, frame: 2 * frame if n % 3 == 1 else frame},
    "both lost": {"requests": lost(every(7)), "answers": lost(every(4))},
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_a_product_on_a_bad_line(faults: dict[str, Fault], rng: np.random.Generator) -> None:
    weights = rng.integers(-4, 5, (6, 20)).astype(np.float32)
    x = rng.integers(-4, 5, (1, 20)).astype(np.float32)
    with LinkBoard(ModelTransport(TINY), **faults) as board:
        with UartTransport(board.path, timeout=0.05) as transport:
            pim = Pim(Driver(transport, TINY), TINY)
            found = pim.linear(pim.upload(weights), (x.view(np.uint32) >> 16).astype(np.uint16))
            repeated = transport.repeated
    np.testing.assert_array_equal((found.astype(np.uint32) << 16).view(np.float32), x @ weights.T)
    if faults not in (FAULTS["answers after noise"], FAULTS["answers twice"]):
        assert repeated > 3, "the line was too good"


def test_a_repeated_write_happens_once() -> None:
    with LinkBoard(ModelTransport(TINY), answers=lost(lambda n: n in (1, 2))) as board:  # 0 answers HELLO
        with UartTransport(board.path, timeout=0.05) as transport:
            transport.write_register(Reg.MACRO_WORD0, 7)
            assert (transport.repeated, board.writes) == (2, 1)
            transport.write_register(Reg.MACRO_WORD0, 8)
            assert board.writes == 2
            assert transport.read_register(Reg.MACRO_WORD0) == 8


def test_a_new_process_is_not_taken_for_the_old_one() -> None:
    """Its first write has the number of the last one's: HELLO must have made the board forget it."""
    with LinkBoard(ModelTransport(TINY)) as board:
        for value in (1, 2, 3):
            with UartTransport(board.path) as transport:
                transport.write_register(Reg.MACRO_WORD0, value)
                assert transport.read_register(Reg.MACRO_WORD0) == value


def test_any_alignment_and_length() -> None:
    data = np.random.default_rng(1).bytes(700)
    with LinkBoard(ModelTransport(TINY)) as board, UartTransport(board.path) as transport:
        for offset, size in ((0, 0), (0, 1), (31, 2), (5, 128), (33, 700), (127, 129)):
            transport.write_memory(BASE, bytes(1024))
            transport.write_memory(BASE + offset, data[:size])
            assert transport.read_memory(BASE, 1024) == bytes(offset) + data[:size] + bytes(
                1024 - offset - size
            )
            assert transport.read_memory(BASE + offset, size) == data[:size]


def test_errors_are_those_of_every_transport() -> None:
    with LinkBoard(ModelTransport(TINY)) as board, UartTransport(board.path) as transport:
        with pytest.raises(AccessError):
            transport.read_register(Reg.ID + 2)
        with pytest.raises(AccessError):
            transport.read_register(0x038)
        with pytest.raises(AccessError):
            transport.read_memory(2 * BASE, 1)
        assert transport.read_register(Reg.ID) == IDENTITY
        assert not transport.wait_interrupt(2 * MOST_WAIT + 5)


def test_a_board_that_falls_silent_is_gone() -> None:
    with LinkBoard(ModelTransport(TINY), answers=lost(lambda n: n > 0)) as board:
        with UartTransport(board.path, timeout=0.02) as transport:
            with pytest.raises(LinkDown, match=rf"no answer to READ_REGISTER after {ATTEMPTS} attempts$"):
                transport.read_register(Reg.ID)


def test_a_port_is_for_one_process(tmp_path: Path) -> None:
    with LinkBoard(ModelTransport(TINY)) as board:
        with UartTransport(board.path):
            with pytest.raises(TransportError, match=r": another process has the port$"):
                UartTransport(board.path)
        UartTransport(board.path).close()
    with pytest.raises(TransportError, match=r": No such file or directory$"):
        UartTransport(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(TransportError, match=r": no serial port"):
        UartTransport(str(tmp_path / "file"))


def test_a_closed_transport_refuses_and_leaks_nothing() -> None:
    with LinkBoard(ModelTransport(TINY)) as board:
        before = len(os.listdir("/proc/self/fd"))
        transport = UartTransport(board.path)
        transport.close()
        transport.close()
        assert len(os.listdir("/proc/self/fd")) == before
        with pytest.raises(TransportError, match=r": the transport is closed$"):
            transport.read_register(Reg.ID)
    with pytest.raises(ValueError, match=r"^baud must be a rate that termios names, not 123$"):
        UartTransport("port", baud=123)
    with pytest.raises(ValueError, match=r"^timeout must be a positive number of seconds, not 0$"):
        UartTransport("port", timeout=0)
