"""The driver against a scripted device: what it writes, and what it makes of each way a device can misbehave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from host_runtime.driver import Driver
from host_runtime.errors import (
    AbiMismatch,
    BuildMismatch,
    CheckerViolation,
    CompletionError,
    ConfigMismatch,
    DeviceError,
    DeviceTimeout,
    DeviceUnusable,
    LinkDown,
    QueueFull,
)
from pim_model.spec.config import config
from pim_model.spec.errors import ErrorSource, Status
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MacroOp, MatVec
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import (
    ABI_MAJOR,
    Control,
    Irq,
    Reg,
    StatusBit,
    command_counter,
    error_info,
    macro_word,
)
from tests.host_runtime.scripted import TINY, Faults, ScriptedTransport

MACRO = MatVec(tag=0, rows=5, columns=7, weight_row=1, input_offset=0, output_offset=64)


def opened(**faults: Any) -> tuple[Driver, ScriptedTransport]:
    transport = ScriptedTransport(faults=Faults(**faults))
    driver = Driver(transport, TINY)
    transport.log.clear()
    return driver, transport


# ------------------------------------------------------------------------------------------------------ identification


def test_opening_identifies_and_arms() -> None:
    transport = ScriptedTransport()
    driver = Driver(transport, TINY)
    assert (driver.info.channels, driver.info.banks, driver.info.rows, driver.info.row_bytes) == (
        2,
        4,
        64,
        256,
    )
    assert transport.resets == 0
    assert transport.values[Reg.IRQ_ENABLE] == Irq.COMPLETION
    assert transport.values[Reg.CONTROL] == Control.REFRESH


def test_dead_link_is_told_and_left_alone() -> None:
    transport = ScriptedTransport(faults=Faults(dead=True))
    with pytest.raises(LinkDown, match="all ones"):
        Driver(transport, TINY)
    assert transport.log == [("read", Reg.ID, 0xFFFFFFFF)], "a dead link stalls on each access: one is enough"


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [
        (Reg.ID, 0x12345678, "ID register must be 0x554e4149, not 0x12345678"),
        (Reg.ABI, (ABI_MAJOR + 1) << 16, "major version must be 2, not 3"),
    ],
)
def test_other_device_is_refused(register: Reg, value: int, message: str) -> None:
    transport = ScriptedTransport()
    transport.values[register] = value
    with pytest.raises(AbiMismatch, match=message):
        Driver(transport, TINY)
    assert not transport.writes()


def test_another_build_is_refused_before_anything_else() -> None:
    transport = ScriptedTransport()
    transport.values |= {Reg.BUILD_LOW: 0x89ABCDEF, Reg.BUILD_HIGH: 0x01234567}
    with pytest.raises(
        BuildMismatch, match=r"of build 0123456789abcdee, and has build 0123456789abcdef: program"
    ):
        Driver(transport, TINY, build=0x0123456789ABCDEE)
    assert {offset for _, offset, _ in transport.log} == {Reg.ID, Reg.ABI, Reg.BUILD_LOW, Reg.BUILD_HIGH}
    assert not transport.writes()
    driver = Driver(transport, TINY, build=0x0123456789ABCDEF)
    assert driver.info.build_digits == "0123456789abcdef"
    with pytest.raises(BuildMismatch, match=r"and has no build digest \(a simulation\)"):
        Driver(ScriptedTransport(), TINY, build=1)


def test_soft_reset_takes_the_way_up_first() -> None:
    transport, recovered = ScriptedTransport(), []
    driver = Driver(transport, TINY)
    transport.log.clear()
    transport.recover = lambda: recovered.append(len(transport.log))  # type: ignore[method-assign]
    driver.soft_reset()
    assert recovered == [0]


def test_newer_minor_version_is_accepted() -> None:
    transport = ScriptedTransport()
    transport.values[Reg.ABI] += 1
    Driver(transport, TINY)


def test_other_shape_is_refused_naming_each_difference() -> None:
    transport = ScriptedTransport(replace(TINY, macro_queue=4))
    with pytest.raises(
        ConfigMismatch, match=r"no 'ianus': channels must be 8, not 2; banks must be 16, not 4"
    ):
        Driver(transport, config("ianus"))
    with pytest.raises(ConfigMismatch, match=r"macro_queue must be 2, not 4$"):
        Driver(transport, TINY)


@pytest.mark.parametrize("status", [StatusBit.BUSY, StatusBit.COMPLETION, StatusBit.OVERFLOW])
def test_leftovers_of_a_killed_process_are_reset(status: StatusBit) -> None:
    transport = ScriptedTransport()
    transport.values[Reg.STATUS] = status
    Driver(transport, TINY)
    assert transport.resets == 1


def test_patience_must_be_positive() -> None:
    with pytest.raises(ValueError, match="patience must be a positive number, not 0"):
        Driver(ScriptedTransport(), patience=0)


# -------------------------------------------------------------------------------------------------------------- macros


def test_each_word_is_written_once_then_pushed() -> None:
    driver, transport = opened()
    tag = driver.submit(MACRO)
    words = replace(MACRO, tag=tag).encode()
    assert transport.writes() == [(macro_word(i), word) for i, word in enumerate(words)] + [
        (Reg.MACRO_PUSH, 1)
    ]


def test_tags_are_unique_while_in_use() -> None:
    driver, _ = opened()
    driver._next_tag = 0xFFFF
    tags = [driver.submit(MACRO) for _ in range(5)]
    assert len(set(tags)) == 5
    assert tags[:2] == [0xFFFF, 0], "tags wrap at 16 bits"
    driver._next_tag = 0xFFFF
    assert driver.submit(MACRO) not in tags, "a tag nobody waited for is still in use"


def test_completion_is_taken_once() -> None:
    driver, transport = opened()
    tag = driver.submit(MACRO)
    assert driver.wait(tag).cycles == 100
    assert [access for access in transport.writes() if access[0] == Reg.COMPLETION_POP] == [
        (Reg.COMPLETION_POP, 1)
    ]
    with pytest.raises(ValueError, match="submitted and not yet waited for"):
        driver.wait(tag)


def test_waiting_out_of_order_keeps_the_others() -> None:
    driver, _ = opened()
    tags = [driver.submit(MACRO) for _ in range(2)]
    assert driver.wait(tags[1]).tag == tags[1]
    assert driver.wait(tags[0]).tag == tags[0]
    assert driver.outstanding == ()


def test_full_queue_takes_completions_or_tells() -> None:
    driver, transport = opened()
    tags = [driver.submit(MACRO) for _ in range(transport.depth)]
    with pytest.raises(QueueFull, match=r"2 places\) is full"):
        driver.submit(MACRO, wait=False)
    assert driver.outstanding == tuple(tags)
    tags.append(driver.submit(MACRO))
    assert [completion.tag for completion in driver.drain()] == tags


def test_queue_full_with_nothing_submitted_is_a_fault() -> None:
    driver, _ = opened(full=True)
    with pytest.raises(CompletionError, match="full although nothing was submitted"):
        driver.submit(MACRO)


def test_error_status_is_raised_by_name_and_driver_goes_on() -> None:
    driver, _ = opened(status={0: Status.WEIGHT_RANGE, 1: 99})
    with pytest.raises(DeviceError, match="WEIGHT_RANGE: the weight matrix reaches") as caught:
        driver.wait(driver.submit(MACRO))
    assert caught.value.status == Status.WEIGHT_RANGE
    with pytest.raises(DeviceError, match="unknown status 99"):
        driver.wait(driver.submit(MACRO))
    driver.wait(driver.submit(MACRO))


def test_drain_returns_failures_too() -> None:
    driver, _ = opened(status={1: Status.BAD_SHAPE})
    tags = [driver.submit(MACRO) for _ in range(2)]
    assert [(c.tag, c.status) for c in driver.drain()] == [(tags[0], 0), (tags[1], Status.BAD_SHAPE)]
    assert driver.drain() == []


@pytest.mark.parametrize("words", [(1,), (1,) * 9, (1 << 32,) + (0,) * 7, (-1,) + (0,) * 7])
def test_words_that_do_not_fit_are_refused(words: tuple[int, ...]) -> None:
    driver, transport = opened()
    with pytest.raises(ValueError, match="words must be 8 unsigned 32-bit integers"):
        driver.submit_words(words)
    assert not transport.writes()


def test_raw_words_with_a_tag_in_use_are_refused() -> None:
    driver, _ = opened()
    driver.submit_words(replace(MACRO, tag=7).encode())
    with pytest.raises(ValueError, match="tag must not be in use, and 0x0007 is"):
        driver.submit_words(replace(MACRO, tag=7).encode())


def test_macro_that_does_not_encode_leaves_nothing_behind() -> None:
    driver, transport = opened()
    with pytest.raises(ValueError, match="rows must fit in 24 bits"):
        driver.submit(replace(MACRO, rows=1 << 24))
    assert driver.outstanding == ()
    assert not transport.writes()


# -------------------------------------------------------------------------------------------------- misbehaving device


def test_lost_completion_times_out_and_blocks_until_reset() -> None:
    driver, transport = opened(lose={0})
    tag = driver.submit(MACRO)
    with pytest.raises(DeviceTimeout, match=rf"macro {tag:#06x} did not complete in \d+ cycles"):
        driver.wait(tag)
    for use in (lambda: driver.submit(MACRO), lambda: driver.wait(tag), driver.drain):
        with pytest.raises(DeviceUnusable, match="needs a soft reset: macro"):
            use()
    driver.soft_reset()
    assert transport.values[Reg.IRQ_ENABLE] == Irq.COMPLETION
    driver.wait(driver.submit(MACRO))


def test_time_allowed_grows_with_the_macro_and_with_patience() -> None:
    driver, transport = opened(lose={0})
    with pytest.raises(DeviceTimeout):
        driver.wait(driver.submit(replace(MACRO, rows=100 * MACRO.rows)))
    short, long = ScriptedTransport(faults=Faults(lose={0})), transport.waits[-1]
    patient = Driver(short, TINY, patience=3)
    with pytest.raises(DeviceTimeout):
        patient.wait(patient.submit(MACRO))
    small, _ = opened(lose={0})
    with pytest.raises(DeviceTimeout):
        small.wait(small.submit(MACRO))
    assert isinstance(small.transport, ScriptedTransport)
    base = small.transport.waits[-1]
    assert base < long
    assert short.waits[-1] == 3 * base


def test_unknown_tag_is_a_fault() -> None:
    driver, _ = opened(retag={0: 0x0BAD})
    tag = driver.submit(MACRO)
    with pytest.raises(CompletionError, match="macro 0x0bad completed without having been submitted"):
        driver.wait(tag)
    with pytest.raises(DeviceUnusable):
        driver.submit(MACRO)


def test_second_completion_of_a_tag_is_a_fault() -> None:
    driver, _ = opened(twice={0})
    first, second = driver.submit(MACRO), driver.submit(MACRO)
    with pytest.raises(CompletionError, match=f"macro {first:#06x} completed a second time"):
        driver.wait(second)


def test_lost_interrupt_is_not_a_lost_macro() -> None:
    driver, _ = opened(silent=True)
    driver.wait(driver.submit(MACRO))


def test_interrupt_without_end_is_a_fault() -> None:
    driver, _ = opened(chatter=True)
    tag = driver.submit(MACRO)
    with pytest.raises(CompletionError, match="the interrupt came 16 times without a completion"):
        driver.wait(tag)


def test_link_that_dies_under_a_macro() -> None:
    driver, transport = opened()
    tag = driver.submit(MACRO)
    transport.faults.dead = True
    with pytest.raises(LinkDown):
        driver.wait(tag)
    with pytest.raises(LinkDown):
        driver.soft_reset()


# -------------------------------------------------------------------------------------------------------------- resets


def test_soft_reset_forgets_everything_outstanding() -> None:
    driver, transport = opened()
    tag = driver.submit(MACRO)
    driver.soft_reset()
    assert driver.outstanding == ()
    with pytest.raises(ValueError, match="not yet waited for"):
        driver.wait(tag)
    assert transport.values[Reg.CONTROL] == Control.REFRESH


def test_soft_reset_keeps_refresh_off() -> None:
    driver, transport = opened()
    driver.set_refresh(False)
    driver.soft_reset()
    assert transport.values[Reg.CONTROL] == 0


def test_reset_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_runtime.driver.RESET_POLLS", 5)
    driver, transport = opened()
    transport.faults.stuck_reset = True
    with pytest.raises(DeviceTimeout, match="did not end within 5 reads"):
        driver.soft_reset()
    with pytest.raises(DeviceUnusable):
        driver.submit(MACRO)


# ------------------------------------------------------------------------------------------------------------ counters


def test_cycles_survive_a_carry_between_two_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, transport = opened()
    answers = {Reg.CYCLES_HIGH: [1, 2, 2], Reg.CYCLES_LOW: [0xFFFFFFFF, 5]}
    monkeypatch.setattr(transport, "read_register", lambda offset: answers[Reg(offset)].pop(0))
    assert driver.cycles() == 2 << 32 | 5


def test_commands_are_summed_over_channels() -> None:
    driver, transport = opened()
    for channel in range(2):
        transport.values[command_counter(channel, MicroOp.MACAB)] = 10 + channel
    transport.values[command_counter(2, MicroOp.MACAB)] = 1000
    counts = driver.command_counts()
    assert counts["MACAB"] == 21
    assert set(counts) == {op.name for op in MicroOp} - {"NOP"}


@pytest.mark.parametrize(
    ("code", "rule"),
    [(0, "tRC"), (65, "ROW_CLOSED"), (63, "tRRDmem"), (77, "an unknown rule"), (255, "an unknown rule")],
)
def test_violation_is_told_by_name(code: int, rule: str) -> None:
    driver, transport = opened()
    driver.check_violations()
    transport.values[Reg.VIOLATIONS] = 3
    transport.values[error_info(ErrorSource.VIOLATION)] = code | 1 << 8 | MicroOp.RD << 16
    with pytest.raises(
        CheckerViolation, match=rf"^3 violations; the first: RD on channel 1 breaks {rule} "
    ) as caught:
        driver.check_violations()
    assert (caught.value.code, caught.value.channel) == (code, 1)


# ----------------------------------------------------------------------------------------------- instructions, PROGRAM


def test_instructions_and_programs_are_submitted_under_own_tags() -> None:
    driver, transport = opened()
    instruction = Instruction(op=MacroOp.MAC_ABK, size=3, row=5, mask=3, tag=99)
    program = Program(offset=64, count=7)
    macros: tuple[Instruction | Program, ...] = (instruction, program)
    encoded = (replace(instruction, tag=0).encode(), replace(program, tag=1).encode())
    for tag, (macro, words) in enumerate(zip(macros, encoded, strict=True)):
        transport.log.clear()
        assert driver.submit(macro) == tag
        expected = [*((macro_word(index), word) for index, word in enumerate(words)), (Reg.MACRO_PUSH, 1)]
        assert transport.writes() == expected
        assert driver.wait(tag).status == Status.OK


def test_time_out_follows_from_the_size() -> None:
    driver, transport = opened()

    def bound(macro: Instruction | Program | MatVec, holds: tuple[MatVec, ...] = ()) -> int:
        driver.wait(driver.submit(macro, holds=holds))
        return transport.waits[-1]

    one, ten, many = (bound(Program(offset=0, count=count)) for count in (1, 10, 8000))
    assert bound(Instruction(op=MacroOp.SYNC)) == one
    assert ten - one == 9 * (many - one) / 7999
    # The slowest instruction of the slowest preset, 64 columns with a mode switch each way and a refresh: 700 CK.
    assert (ten - one) / 9 > 700
    product = replace(MACRO, rows=1000)
    alone, empty = bound(product), bound(replace(MACRO, tokens=0))
    assert bound(replace(product, kv_rows=(1, 1))) - empty == 3 * (alone - empty)
    assert bound(Program(offset=0, count=10), (product,)) - ten == bound(product) - bound(
        replace(MACRO, tokens=0)
    )
