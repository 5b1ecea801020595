"""Malformed macros: each status by its cause, no DRAM command, and a device that works on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from host_runtime.errors import DeviceError
from host_runtime.reference import golden_linear
from pim_model.spec.errors import MALFORMED, Status
from pim_model.spec.macro import MacroOp
from pim_model.spec.registers import Reg
from tests.agree.bench import Bench

TAG = 0x1234


@dataclass(frozen=True)
class Bad:
    """Fields put into a valid macro, then bits flipped in its words: what must be said of it."""

    name: str
    status: Status
    fields: dict[str, int | str]
    flips: dict[int, int | str]


def bad(name: str, status: Status, flips: dict[int, int | str] | None = None, **fields: int | str) -> Bad:
    return Bad(name, status, fields, flips or {})


QKV = MacroOp.MATVEC ^ MacroOp.QKV  # makes a QKV of a MATVEC

# In a text: b = buffer bytes, r = rows for weights, g = outputs of a group.
CASES = [
    bad("opcode zero", Status.BAD_OPCODE, {0: 0x01}),
    bad("opcode unknown", Status.BAD_OPCODE, {0: 0x05}),
    bad("opcode all ones", Status.BAD_OPCODE, {0: 0xFE}),
    bad("reserved bit 26", Status.RESERVED_BITS, {0: 1 << 26}),
    bad("reserved bit 27", Status.RESERVED_BITS, {0: 1 << 27}),
    bad("reserved above rows", Status.RESERVED_BITS, {1: 1 << 24}),
    bad("reserved above columns", Status.RESERVED_BITS, {2: 1 << 31}),
    bad("reserved last word", Status.RESERVED_BITS, {7: 1}),
    bad("function without activation", Status.RESERVED_BITS, {0: 1 << 28}),
    bad("bias offset without bias", Status.RESERVED_BITS, {6: 32}),
    bad("no rows", Status.BAD_SHAPE, rows=0),
    bad("no columns", Status.BAD_SHAPE, columns=0),
    bad("no tokens", Status.BAD_SHAPE, tokens=0),
    bad("function 8", Status.BAD_FUNCTION, function=8),
    bad("function 15", Status.BAD_FUNCTION, function=15),
    bad("QKV: reserved bit 26", Status.RESERVED_BITS, {0: QKV | 1 << 26}),
    bad("QKV: bias offset without bias", Status.RESERVED_BITS, {0: QKV, 6: 32}),
    bad("QKV: no rows", Status.BAD_SHAPE, {0: QKV}, rows=0),
    bad("QKV: function 9", Status.BAD_FUNCTION, {0: QKV}, function=9),
    bad("QKV: query in the table rows", Status.WEIGHT_RANGE, {0: QKV}, weight_row="r"),
    bad("QKV: key in the table rows", Status.WEIGHT_RANGE, {0: QKV, 7: "r"}),
    bad("QKV: value in the table rows", Status.WEIGHT_RANGE, {0: QKV, 7: "r << 16"}),
    bad("QKV: value into the table rows", Status.WEIGHT_RANGE, {0: QKV, 7: "r - 1 << 16"}, rows="g+1"),
    bad("QKV: output off 32", Status.ALIGNMENT, {0: QKV}, output_offset=513),
    bad("QKV: third part over the end", Status.BUFFER_RANGE, {0: QKV}, output_offset="b-64"),
    bad("QKV: third bias over the end", Status.BUFFER_RANGE, {0: QKV}, bias_offset="b-64"),
    bad("QKV: third part on the input", Status.OVERLAP, {0: QKV}, input_offset=576),
    bad("QKV: third part on the bias", Status.OVERLAP, {0: QKV}, bias_offset=576),
    bad("QKV: third bias on the output", Status.OVERLAP, {0: QKV}, bias_offset=448),
    bad("first table row", Status.WEIGHT_RANGE, weight_row="r"),
    bad("into the table rows", Status.WEIGHT_RANGE, weight_row="r-1", rows="g+1"),
    bad("two tiles at the end", Status.WEIGHT_RANGE, weight_row="r-1", columns="e+1"),
    bad("largest row", Status.WEIGHT_RANGE, weight_row=0xFFFF),
    bad("largest matrix", Status.WEIGHT_RANGE, rows=0xFFFFFF, columns=0xFFFFFF),
    bad("input off 32", Status.ALIGNMENT, input_offset=16),
    bad("output off 32", Status.ALIGNMENT, output_offset=513),
    bad("bias off 32", Status.ALIGNMENT, bias_offset=1026),
    bad("input beyond the end", Status.BUFFER_RANGE, input_offset="b"),
    bad("input over the end", Status.BUFFER_RANGE, input_offset="b-32"),
    bad("output over the end", Status.BUFFER_RANGE, output_offset="b-32", rows=17),
    bad("bias over the end", Status.BUFFER_RANGE, bias_offset="b-32", rows=17),
    bad("many tokens", Status.BUFFER_RANGE, tokens=0xFFFF),
    bad("offset wraps at 32 bits", Status.BUFFER_RANGE, input_offset=0xFFFFFFE0),
    bad("output wraps at 32 bits", Status.BUFFER_RANGE, output_offset=0xFFFFFFE0, tokens=2),
    bad("bias wraps at 32 bits", Status.BUFFER_RANGE, bias_offset=0xFFFFFFE0),
    bad("results on the input", Status.OVERLAP, output_offset=0),
    bad(
        "results reach into the input",
        Status.OVERLAP,
        tokens=2,
        rows=17,
        input_offset=1024,
        output_offset=928,
    ),
    bad("input reaches into the results", Status.OVERLAP, tokens=9),
    bad("results on the bias", Status.OVERLAP, bias_offset=512),
    bad("results reach into the bias", Status.OVERLAP, tokens=2, bias_offset=544),
    bad("bias reaches into the results", Status.OVERLAP, rows=33, bias_offset=448),
    # the first check that fails names the status
    bad("opcode before reserved", Status.BAD_OPCODE, {0: 0x05, 7: 1}),
    bad("reserved before shape", Status.RESERVED_BITS, {7: 1}, rows=0),
    bad("shape before function", Status.BAD_SHAPE, rows=0, function=9),
    bad("function before weights", Status.BAD_FUNCTION, function=9, weight_row=0xFFFF),
    bad("weights before alignment", Status.WEIGHT_RANGE, weight_row=0xFFFF, input_offset=1),
    bad("alignment before range", Status.ALIGNMENT, input_offset="b+1"),
    bad("range before overlap", Status.BUFFER_RANGE, input_offset="b", output_offset="b"),
]


def words_of(case: Bad, bench: Bench) -> tuple[int, ...]:
    geometry = bench.config.geometry
    names = {
        "b": bench.config.buffer_bytes,
        "r": geometry.weight_rows,
        "g": geometry.outputs,
        "e": geometry.elements,
    }
    fields = {k: eval(v, names) if isinstance(v, str) else v for k, v in case.fields.items()}
    words = list(bench.macro(tag=TAG, **fields).encode())
    for index, flip in case.flips.items():
        words[index] ^= eval(flip, names) if isinstance(flip, str) else flip
    return tuple(words)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_malformed_macro(bench: Bench, case: Bad) -> None:
    weights, x = bench.bits(3, 17), bench.bits(1, 17)
    bench.place(weights)
    bench.write_buffer(0, x)
    before = bench.read_buffer(0, bench.config.buffer_bytes // 2)
    driver = bench.driver
    driver.set_refresh(False)
    with bench.commands() as counts:
        tag = driver.submit_words(words_of(case, bench))
        with pytest.raises(DeviceError) as caught:
            driver.wait(tag)
    assert (caught.value.status, caught.value.tag) == (case.status, TAG)
    assert counts == {}, "a malformed macro issues no DRAM command"
    np.testing.assert_array_equal(bench.read_buffer(0, bench.config.buffer_bytes // 2), before)
    # and the next one is as if nothing had been
    driver.set_refresh(True)
    driver.wait(driver.submit(bench.macro()))
    np.testing.assert_array_equal(bench.read_buffer(512, 3), golden_linear(bench.numerics, weights, x)[0])
    assert bench.read(Reg.VIOLATIONS) == 0


def test_every_status_is_provoked() -> None:
    of_instructions = {Status.CHANNEL_MASK, Status.ADDRESS_RANGE}  # no MATVEC has these
    assert {case.status for case in CASES} == MALFORMED - of_instructions
    of_qkv = {case.status for case in CASES if case.name.startswith("QKV")}
    assert of_qkv == MALFORMED - of_instructions - {Status.BAD_OPCODE}


def test_good_and_bad_macros_mixed(bench: Bench) -> None:
    """Each completes once, in order, with its own status; the good ones compute."""
    weights = bench.bits(3, 17)
    bench.place(weights)
    driver, expected = bench.driver, []
    x = bench.bits(6, 32)
    bench.write_buffer(0, x)
    for index in range(6):
        good = bench.macro(input_offset=64 * index, output_offset=512 + 32 * index)
        driver.submit(good if index % 3 else replace(good, rows=0))
        expected.append(Status.OK if index % 3 else Status.BAD_SHAPE)
    completions = driver.drain()
    assert [c.status for c in completions] == expected
    golden = golden_linear(bench.numerics, weights, np.ascontiguousarray(x[:, :17]))
    for index in (1, 2, 4, 5):
        np.testing.assert_array_equal(bench.read_buffer(512 + 32 * index, 3), golden[index][:3])
