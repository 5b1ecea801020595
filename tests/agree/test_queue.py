"""Macro queue, completion queue, interrupt line."""

from __future__ import annotations

import pytest

from pim_model.spec.errors import ErrorSource
from pim_model.spec.registers import COMPLETION_VALID, Irq, Reg, StatusBit
from tests.agree.bench import Bench


def fill(bench: Bench) -> list[int]:
    """Push macros that take long until the queue has no place; their tags."""
    tags: list[int] = []
    while bench.read(Reg.MACRO_SPACE):
        tags.append(0x100 + len(tags))
        bench.push(bench.long_macro(tags[-1]))
        assert len(tags) <= bench.config.macro_queue + 4, "the queue never fills"
    return tags


def take_all(bench: Bench, count: int) -> list[int]:
    tags = [bench.completion()[0] for _ in range(count)]
    assert not bench.transport.wait_interrupt(200)
    assert bench.read(Reg.COMPLETION) == 0
    return tags


def test_queue_fills_and_says_so(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    tags = fill(bench)
    assert bench.config.macro_queue <= len(tags) <= bench.config.macro_queue + 2
    assert bench.read(Reg.STATUS) & StatusBit.BUSY
    assert not bench.read(Reg.STATUS) & StatusBit.OVERFLOW
    assert take_all(bench, len(tags)) == tags
    assert bench.read(Reg.STATUS) == 0
    assert bench.read(Reg.MACRO_SPACE) == bench.config.macro_queue


def test_push_into_a_full_queue_is_dropped_and_remembered(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    tags = fill(bench)
    bench.push(bench.macro(tag=0xDEAD))
    assert bench.read(Reg.STATUS) & StatusBit.OVERFLOW
    assert bench.read(Reg.IRQ_STATUS) & Irq.ERROR
    assert take_all(bench, len(tags)) == tags, "the dropped macro never completes"
    assert bench.read(Reg.IRQ_STATUS) == Irq.ERROR, "held until acknowledged"
    bench.write(Reg.ERRORS, 1 << ErrorSource.OVERFLOW)
    assert bench.read(Reg.IRQ_STATUS) == 0


@pytest.mark.parametrize("count", [1, 5, 40])
def test_each_macro_completes_once_and_in_order(bench: Bench, count: int) -> None:
    tags = [bench.driver.submit(bench.macro()) for _ in range(count)]
    assert len(set(tags)) == count
    assert [c.tag for c in bench.driver.drain()] == tags
    assert bench.read(Reg.COMPLETION) == 0
    assert bench.read(Reg.STATUS) == 0


def test_completions_wait_until_they_are_taken(bench: Bench) -> None:
    """More macros than both queues hold, and a host that looks late: nothing is lost."""
    bench.write(Reg.IRQ_ENABLE, 0)
    wanted = bench.config.completion_queue + 1
    pushed: list[int] = []
    while len(pushed) < wanted:
        if not bench.read(Reg.MACRO_SPACE):
            assert not bench.transport.wait_interrupt(50_000)
        if bench.read(Reg.MACRO_SPACE):
            pushed.append(len(pushed))
            bench.push(bench.macro(tag=pushed[-1]))
    assert not bench.transport.wait_interrupt(50_000), "the interrupt is not enabled"
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    assert take_all(bench, wanted) == pushed


@pytest.mark.parametrize("tag", [0, 1, 0x7FFF, 0x8000, 0xFFFF])
def test_tag_comes_back(bench: Bench, tag: int) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    bench.push(bench.macro(tag=tag))
    assert bench.completion() == (tag, 0)


def test_same_tag_twice_completes_twice(bench: Bench) -> None:
    """Tags are the host's business; the device only gives them back."""
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    bench.push(bench.macro(tag=9))
    bench.push(bench.macro(tag=9))
    assert [bench.completion(), bench.completion()] == [(9, 0), (9, 0)]


def test_macro_words_may_change_after_the_push(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    bench.push(bench.macro(tag=3))
    for index in range(8):
        bench.transport.write_register(Reg.MACRO_WORD0 + 4 * index, 0xFFFFFFFF)
    assert bench.completion() == (3, 0)


def test_interrupt_is_a_level_held_until_the_pop(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    assert not bench.transport.wait_interrupt(100)
    bench.push(bench.macro(tag=1))
    bench.push(bench.macro(tag=2))
    assert bench.transport.wait_interrupt(1_000_000)
    assert bench.transport.wait_interrupt(0), "still high: nobody has acknowledged it"
    first = bench.read(Reg.COMPLETION)
    assert bench.read(Reg.COMPLETION) == first, "reading pops nothing"
    bench.write(Reg.IRQ_STATUS, Irq.COMPLETION)
    assert bench.read(Reg.IRQ_STATUS) & Irq.COMPLETION, "a completion's cause clears by its pop alone"
    assert bench.completion()[0] == 1
    assert bench.completion()[0] == 2
    assert not bench.transport.wait_interrupt(100)
    assert bench.read(Reg.IRQ_STATUS) == 0


def test_interrupt_enable_masks_the_line_not_the_cause(bench: Bench) -> None:
    bench.push(bench.macro())
    assert not bench.transport.wait_interrupt(50_000)
    assert bench.read(Reg.IRQ_STATUS) == Irq.COMPLETION
    assert bench.read(Reg.COMPLETION) & COMPLETION_VALID
    bench.write(Reg.IRQ_ENABLE, Irq.ERROR)
    assert not bench.transport.wait_interrupt(100)
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    assert bench.transport.wait_interrupt(100)


def test_error_interrupt(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.ERROR)
    fill(bench)
    bench.push(bench.macro())
    assert bench.transport.wait_interrupt(100)
    bench.write(Reg.ERRORS, 1 << ErrorSource.OVERFLOW)
    assert bench.read(Reg.IRQ_STATUS) & Irq.ERROR == 0


def test_wait_without_work_ends(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION | Irq.ERROR)
    for timeout in (0, 1, 1000):
        assert not bench.transport.wait_interrupt(timeout)


def test_completion_tells_its_cycles(bench: Bench) -> None:
    short = bench.driver.wait(bench.driver.submit(bench.macro()))
    long = bench.driver.wait(bench.driver.submit(bench.long_macro(0)))
    assert 0 < short.cycles < long.cycles
    groups = -(-bench.long_macro(0).rows // bench.config.geometry.outputs)
    assert long.cycles >= groups * bench.config.geometry.columns, "a column a cycle is the most there can be"
