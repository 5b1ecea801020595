"""The decoder: which macros become jobs, and with which status the others are refused.

The checks are written once more, from the format, on the words of the macro. The one thing taken from the design is
its product of two numbers; that it multiplies the right two is a claim of its own, so no proof has to see through a
multiplier.
"""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal, Value

from hdl.layouts import Fetched
from hdl.pcu.decoder import Decoder
from pim_model.spec.config import Config
from pim_model.spec.errors import MALFORMED, Status
from pim_model.spec.geometry import LANES, TABLE_ROWS
from pim_model.spec.isr import FIELDS, Instruction
from pim_model.spec.macro import MacroOp, MatVec

from .harness import Harness, signals_of, state_number
from .streams import stands

__all__ = ["DecoderHarness"]

_PRODUCT = (MacroOp.MATVEC, MacroOp.QKV)
_BY_CHANNEL = (MacroOp.WR_BIAS, MacroOp.RD_MAC, MacroOp.RD_AF, MacroOp.RD_SBK)


def _ceil(value: Any, by: int) -> Any:
    """``value / by`` rounded up; ``by`` is a power of two."""
    return (value + (by - 1)) >> (by.bit_length() - 1)


def _first(*checks: tuple[Any, Status]) -> Any:
    """The status of the first check that fails, OK if none does."""
    found: Any = Const(int(Status.OK), 8)
    for fails, status in reversed(checks):
        found = Mux(fails, int(status), found)
    return found


class DecoderHarness(Harness):
    """A :class:`Decoder` that is given any words at all, alone or as parts of programs."""

    depth = 4  # the directed stimuli reach everything; multipliers are hard to unroll

    def __init__(self, config: Config):
        super().__init__()
        self._config = config
        self.scripts = [self._script()]

    def _script(self) -> list[dict[str, int]]:
        """For each status a product and an instruction that get it, and a program with a malformed part."""
        config, geometry = self._config, self._config.geometry
        good: dict[str, Any] = {
            "tag": 7,
            "rows": 3,
            "columns": 20,
            "weight_row": 1,
            "input_offset": 0,
            "output_offset": 256,
        }
        products: list[tuple[int, ...]] = [
            MatVec(**good).encode(),
            MatVec(**{**good, "kv_rows": (2, 3), "bias_offset": 1024, "function": 1}).encode(),
            (0xFF, *[0] * 7),
            (*MatVec(**good).encode()[:7], 1),
            MatVec(**{**good, "rows": 0}).encode(),
            MatVec(**{**good, "function": 15}).encode(),
            MatVec(**{**good, "weight_row": geometry.rows - 1}).encode(),
            MatVec(**{**good, "kv_rows": (2, geometry.rows - 1)}).encode(),
            MatVec(**{**good, "input_offset": 1}).encode(),
            MatVec(**{**good, "output_offset": config.buffer_bytes}).encode(),
            MatVec(**{**good, "output_offset": 0}).encode(),
        ]
        read = Instruction(op=MacroOp.RD_SBK, size=1, mask=1)
        instructions = [
            read.encode(),
            (*read.encode()[:7], 1),
            Instruction(op=MacroOp.RD_SBK, mask=1).encode(),
            Instruction(op=MacroOp.AF, mask=1, function=15).encode(),
            Instruction(op=MacroOp.RD_SBK, size=1, mask=1, gpr0=1).encode(),
            Instruction(op=MacroOp.RD_SBK, size=1, mask=1, gpr0=config.buffer_bytes).encode(),
            Instruction(op=MacroOp.RD_SBK, size=1, mask=0).encode(),
            Instruction(op=MacroOp.RD_SBK, size=64, column=63, mask=1).encode(),
        ]

        def packed(words: tuple[int, ...]) -> int:
            return sum(word << 32 * i for i, word in enumerate(words))

        script: list[dict[str, int]] = []
        for words in (*products, *instructions):
            for last in (1, 0):
                script += [{"words": packed(words), "offer": 1, "last": last, "decoder_jobs__ready": 1}]
                script += [{"decoder_jobs__ready": 1}] * 12
        flip = {"words": packed(products[0]), "offer": 1, "last": 1, "status": Status.PARITY}
        wait = [{"words": packed(instructions[0]), "offer": 1, "last": 1}] * 6
        return [*script, flip, *[{"decoder_jobs__ready": 1}] * 6, *wait, *[{"decoder_jobs__ready": 1}] * 6]

    def build(self, m: Module) -> None:
        config = self._config
        fetched = Signal(Fetched)
        valid, ready = Signal(), Signal()
        # One macro waits here until it is taken, whatever the solver thinks of next.
        with m.If(~valid | ready):
            m.d.sync += [
                valid.eq(self.free("offer")),
                Cat(fetched.words).eq(self.free("words", 256)),
                fetched.tag.eq(self.free("tag", 16)),
                fetched.last.eq(self.free("last")),
                fetched.status.eq(Mux(self.free("status", 8) == Status.PARITY, Status.PARITY, Status.OK)),
            ]
        decoder = Decoder(config)
        inner = signals_of(
            self.place(m, "decoder", decoder, macros__payload=Value.cast(fetched), macros__valid=valid)
        )
        m.d.comb += ready.eq(decoder.macros.ready)
        state = inner["decoder_state"]

        def during(name: str) -> Any:
            return state == state_number(state, name)

        products: list[Any] = []  # what the multiplier gave in the three cycles in which it was asked
        for name in ("CHECK WEIGHTS", "CHECK INPUT", "CHECK OUTPUT"):
            kept = Signal(48, name=f"product_{len(products)}")
            with m.If(during(name)):
                m.d.sync += kept.eq(inner["product"])
            products.append(kept)
        product, instruction = self._product(fetched.words, products), self._instruction(fetched.words)
        opcode = fetched.words[0][:8]
        is_instruction = opcode.matches(*FIELDS)
        verdict = Signal(8)
        m.d.comb += verdict.eq(
            Mux(
                fetched.status != Status.OK,
                fetched.status,
                Mux(is_instruction, instruction, _first(*product)),
            )
        )

        # --- which job there is: of a program the first malformed macro ends it, and its last tells
        offered, status, failed, tag, last = Signal(), Signal(8), Signal(8), Signal(16), Signal()
        taken = Signal()
        m.d.comb += taken.eq(valid & ready)
        with m.If(decoder.jobs.ready):
            m.d.sync += offered.eq(0)
        with m.If(taken):
            m.d.sync += [tag.eq(fetched.tag), last.eq(fetched.last)]
            with m.If(fetched.last):
                m.d.sync += [
                    offered.eq(1),
                    status.eq(Mux(failed != Status.OK, failed, verdict)),
                    failed.eq(Status.OK),
                ]
            with m.Elif(failed == Status.OK):
                m.d.sync += [offered.eq(verdict == Status.OK), status.eq(verdict), failed.eq(verdict)]
        job = decoder.jobs.p
        self.claim(
            m, "one job a macro", decoder.jobs.valid == offered, "none lost, none doubled, none of nothing"
        )
        self.claim(
            m, "status", ~offered | (job.status == status), "each macro has the status that the checks give"
        )
        self.claim(m, "tag", ~offered | (job.tag == tag), "and its own tag")
        self.claim(
            m, "last", ~offered | (job.last == last), "and completes the host's macro if it is the last"
        )
        self.claim(
            m,
            "refused is last",
            ~offered | (job.status == Status.OK) | job.last,
            "what is refused ends its macro",
        )
        self.claim(
            m, "nothing replaced", ~(offered & taken & ~decoder.jobs.ready), "a job waits until it is taken"
        )
        self.claim(
            m, "busy", decoder.busy | (~offered & during("TAKE")), "busy while there is a macro or a job"
        )
        stands(self, m, "jobs", decoder.jobs.valid, decoder.jobs.ready, decoder.jobs.p)
        # What the job came of, kept when it was taken.
        origin, words = Signal(8), Signal(256)
        with m.If(taken):
            m.d.sync += [origin.eq(verdict), words.eq(Cat(fetched.words))]
        for code in sorted(MALFORMED):
            self.claim(
                m,
                f"{code.name}: does not run",
                ~offered | (origin != code) | (job.status != Status.OK),
                f"no job that runs comes of what is refused as {code.name}",
            )
            self.cover(m, f"{code.name}", offered & (job.status == code))
        runs = offered & (job.status == Status.OK)
        for name, fields in self._fields(words).items():
            self.claim(
                m,
                f"fields of {name}",
                ~runs | (job.instruction != (name == "an instruction")) | _equal(job, fields),
                "the job says what the words say",
            )
        for name, happens in (
            ("a product that runs", runs & ~job.instruction),
            ("an instruction that runs", runs & job.instruction),
            ("a flipped bit", offered & (job.status == Status.PARITY)),
            ("a program goes on after what is malformed", taken & (failed != Status.OK) & ~fetched.last),
            ("a program ends after what is malformed", taken & (failed != Status.OK) & fetched.last),
        ):
            self.cover(m, name, happens)

        # --- links
        self.invariant(m, "failed", inner["failed"] == failed)
        self.invariant(m, "states", state <= max(state_number(state, name) for name in _STATES))
        self.invariant(
            m,
            "at work",
            during("TAKE") | (valid & ~offered & (failed == 0) & (fetched.status == 0) & ~is_instruction),
        )
        fields = self._fields(Cat(fetched.words))["a product"]
        tag_and_last = (job.tag == fetched.tag) & (job.last == fetched.last) & ~job.instruction
        self.invariant(m, "fields at work", during("TAKE") | (_equal(job, fields) & tag_and_last))
        self.invariant(
            m,
            "fields kept",
            ~offered
            | (origin != Status.OK)
            | (status != Status.OK)
            | (job.instruction == words[:8].matches(*FIELDS)),
        )
        self._steps(m, inner, job, during, fetched.words, products, product)

    def _steps(self, m, inner, job, during, words, products, checks) -> None:
        """What is known in each state, and that the multiplier is asked for the right two numbers."""
        geometry = self._config.geometry
        rows, columns, tokens = words[1][:24], words[2][:24], words[3][:16]
        parts = _ceil(rows, LANES)
        factors = (
            (
                "CHECK WEIGHTS",
                "groups x tiles",
                _ceil(rows, geometry.outputs),
                _ceil(columns, geometry.elements),
            ),
            ("CHECK INPUT", "input words x tokens", _ceil(columns, LANES), tokens),
            (
                "CHECK OUTPUT",
                "output words x tokens",
                parts + Mux(words[0][:8] == MacroOp.QKV, parts << 1, 0),
                tokens,
            ),
        )
        for name, what, first, second in factors:
            self.claim(
                m,
                f"multiplies {what}",
                ~during(name) | ((inner["factor_a"] == first) & (inner["factor_b"] == second)),
                f"the product of {name} is {what}",
            )
            self.cover(m, f"{name}", during(name))
        ends = [(words[4] >> 5) + products[1], (words[5] >> 5) + products[2]]
        bias = Mux(words[0][24], (words[6] >> 5) + factors[2][2], 0)
        decided = (0, 4, 5, 6, 6, 7, 8)  # checks that are behind
        for number, (name, behind) in enumerate(zip(_STATES[1:], decided, strict=True)):
            here = during(name)
            self.invariant(m, f"status before {name}", ~here | (job.status == _first(*checks[:behind])))
            if number >= 3:
                self.invariant(m, f"input end before {name}", ~here | (inner["input_end"] == ends[0]))
            if number >= 4:
                known = (inner["output_end"] == ends[1]) & (inner["bias_end"] == bias)
                self.invariant(m, f"ends before {name}", ~here | known)

    def _fields(self, words) -> dict[str, dict[str, Any]]:
        """What the fields of the jobs of a product and of an instruction are."""
        rows, columns = words[32:56], words[64:88]
        word = [words[32 * i : 32 * i + 32] for i in range(8)]
        qkv = words[:8] == MacroOp.QKV
        geometry = self._config.geometry
        parts, groups = _ceil(rows, LANES), _ceil(rows, geometry.outputs)
        return {
            "a product": {
                "weight_row": word[3][16:],
                "second_row": word[7][:16],
                "third_row": word[7][16:],
                "qkv": qkv,
                "tokens": word[3][:16],
                "groups": groups,
                "all_groups": groups + Mux(qkv, groups << 1, 0),
                "tiles": _ceil(columns, geometry.elements),
                "input": word[4][5:21],
                "output": word[5][5:21],
                "bias": word[6][5:21],
                "input_stride": _ceil(columns, LANES),
                "part_stride": parts,
                "output_stride": parts + Mux(qkv, parts << 1, 0),
                "has_bias": word[0][24],
                "activate": word[0][25],
                "function": word[0][28:31],
            },
            "an instruction": {
                "opcode": word[0][:8],
                "mode": word[0][24:26],
                "size": word[1][:7],
                "column": word[1][8:14],
                "bank": word[1][16:20],
                "mask": word[2],
                "weight_row": word[3][16:],
                "input": word[4][5:21],
                "second": word[5][5:21],
                "function": word[0][28:31],
            },
        }

    def _product(self, words, products) -> list[tuple[Any, Status]]:
        """The checks of a MATVEC or QKV, in their order."""
        config, geometry = self._config, self._config.geometry
        opcode, flags, function = words[0][:8], words[0][24:28], words[0][28:]
        qkv, bias, activate = opcode == MacroOp.QKV, flags[0], flags[1]
        reserved = (flags[2:].any() | words[1][24:].any() | words[2][24:].any() | (~qkv & words[7].any())) | (
            (~activate & function.any()) | (~bias & words[6].any())
        )
        weights = [words[3][16:], words[7][:16], words[7][16:]]
        beyond = [row + products[0] > geometry.weight_rows for row in weights]
        parts = _ceil(words[1][:24], LANES)
        start = [words[i] for i in (4, 5, 6)]  # in bytes, as in the format
        bias_bytes = (parts + Mux(qkv, parts << 1, 0)) << 5
        ends = [
            start[0] + (products[1] << 5),
            start[1] + (products[2] << 5),
            Mux(bias, start[2] + bias_bytes, 0),
        ]
        overlaps = ((start[1] < ends[0]) & (start[0] < ends[1])) | (
            (start[1] < ends[2]) & (start[2] < ends[1])
        )
        return [
            (~opcode.matches(*_PRODUCT), Status.BAD_OPCODE),
            (reserved, Status.RESERVED_BITS),
            (~words[1][:24].any() | ~words[2][:24].any() | ~words[3][:16].any(), Status.BAD_SHAPE),
            (activate & (function >= TABLE_ROWS), Status.BAD_FUNCTION),
            (beyond[0] | (qkv & (beyond[1] | beyond[2])), Status.WEIGHT_RANGE),
            (Cat(each[:5] for each in start).any(), Status.ALIGNMENT),
            (Cat(end > config.buffer_bytes for end in ends).any(), Status.BUFFER_RANGE),
            (overlaps, Status.OVERLAP),
        ]

    def _instruction(self, words) -> Any:
        """The status of an ISR instruction."""
        config, geometry = self._config, self._config.geometry
        opcode = words[0][:8]

        def uses(field: str) -> Any:
            return opcode.matches(*(op for op, fields in FIELDS.items() if field in fields))

        size, column, bank, mask, row = (
            words[1][:7], words[1][8:14], words[1][16:20], words[2], words[3][16:],
        )  # fmt: skip
        fields = {
            "size": size, "column": column, "bank": bank, "mask": mask, "row": row, "gpr0": words[4], "gpr1": words[5],
            "function": words[0][28:], "set": words[0][24], "local": words[0][25],
        }  # fmt: skip
        reserved = (
            Cat(~uses(name) & value.any() for name, value in fields.items()).any()
            | Cat(
                words[0][26:28],
                words[1][7],
                words[1][14:16],
                words[1][20:],
                words[3][:16],
                words[6],
                words[7],
            ).any()
        )
        channels = geometry.channels
        span: Any = Const(1)
        for low in range(channels):
            for high in range(low, channels):
                only = mask[low] & mask[high] & ~mask[:low].any() if low else mask[low] & mask[high]
                above = mask[high + 1 : channels].any() if high + 1 < channels else Const(0)
                span = Mux(only & ~above, high - low + 1, span)
        gprs = Mux(uses("size"), size, 1) * Mux(opcode.matches(*_BY_CHANNEL), span, 1)
        bad_mask = uses("mask") & (~mask.any() | (mask >> channels).any())
        beyond = Cat(
            uses(name) & (words[i] + (gprs << 5) > config.buffer_bytes)
            for name, i in (("gpr0", 4), ("gpr1", 5))
        ).any()
        address = (bank >= geometry.banks) | (row >= geometry.rows)
        address |= uses("column") & (column + size > geometry.columns)
        return _first(
            (reserved, Status.RESERVED_BITS),
            (uses("size") & ((size == 0) | (size > 64)), Status.BAD_SHAPE),
            (uses("function") & (words[0][28:] >= TABLE_ROWS), Status.BAD_FUNCTION),
            (words[4][:5].any() | words[5][:5].any(), Status.ALIGNMENT),
            (beyond & ~bad_mask, Status.BUFFER_RANGE),
            (bad_mask, Status.CHANNEL_MASK),
            (address, Status.ADDRESS_RANGE),
        )


_STATES = (
    *("TAKE", "CHECK FIELDS", "CHECK WEIGHTS", "CHECK INPUT"),
    *("CHECK OUTPUT", "CHECK RANGES", "CHECK OVERLAP", "GIVE"),
)


def _equal(job: Any, fields: dict[str, Any]) -> Any:
    """Whether the fields of a job are these."""
    return Cat(job[name] == value for name, value in fields.items()).all()
