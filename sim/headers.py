"""The C++ headers that carry the project's numbers and the design's port names to ``sim/native``."""

from __future__ import annotations

from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES, TABLE_ROWS
from pim_model.spec.micro import FOUR_BANKS, ONE_BANK, READ_DATA, SETS, WRITE_DATA, MicroOp, Mode
from pim_model.spec.row_buffers import MEM_ONLY, PIM_ONLY

__all__ = ["device_ports_header", "ports_header", "serial_ports_header", "spec_header"]

_ADDRESS = ("addr", "valid", "ready")
_PORTS = (
    *("clk", "rst", "irq"),
    *(f"regs__aw{name}" for name in _ADDRESS),
    *(f"regs__w{name}" for name in ("data", "strb", "valid", "ready")),
    *(f"regs__b{name}" for name in ("resp", "valid", "ready")),
    *(f"regs__ar{name}" for name in _ADDRESS),
    *(f"regs__r{name}" for name in ("data", "resp", "valid", "ready")),
    *(f"mem__aw{name}" for name in ("id", "len", "size", "burst", *_ADDRESS)),
    *(f"mem__w{name}" for name in ("data", "strb", "last", "valid", "ready")),
    *(f"mem__b{name}" for name in ("id", "resp", "valid", "ready")),
    *(f"mem__ar{name}" for name in ("id", "len", "size", "burst", *_ADDRESS)),
    *(f"mem__r{name}" for name in ("id", "data", "resp", "last", "valid", "ready")),
)

_PINS = (
    *(("CData", name) for name in ("op0", "bank0", "column0", "op1", "column1", "mode0", "mode1", "rvalid")),
    ("SData", "row0"),
    ("IData", "wmask"),
    *(("VlWide<8>", name) for name in ("wdata", "rdata")),
)


def spec_header(config: Config, *, device_in_design: bool = False) -> str:
    """``spec.h``: geometry, latencies, opcodes and their mode bits, of ``config`` as C++ constants.

    ``device_in_design``: the design holds its device, and the C++ model judges what that returns.
    """
    geometry, timing = config.geometry, config.timing
    constants = {
        "kChannels": geometry.channels,
        "kBanks": geometry.banks,
        "kBanksPerGroup": geometry.banks_per_group,
        "kRows": geometry.rows,
        "kRowBytes": geometry.row_bytes,
        "kColumns": geometry.columns,
        "kColumnBytes": COLUMN_BYTES,
        "kLanes": LANES,
        "kTableRows": TABLE_ROWS,
        "kSets": SETS,
        "kDualRowBuffer": int(config.dual_row_buffer),
        "kDeviceInDesign": int(device_in_design),
        "kSet1": Mode.SET1.value,
        "kLocal": Mode.LOCAL.value,
        "kReadLatency": max(1, timing.cycles("RL + BL")),
        "kRegisterLatency": max(1, timing.cycles("RLREG + BL")),
        "kRefreshInterval": timing.refresh_interval,
    }
    return "\n".join(
        (
            "// Generated from pim_model.spec.",
            "#pragma once",
            "#include <cstdint>",
            "namespace ianus::spec {",
            *(f"constexpr unsigned {name} = {value};" for name, value in constants.items()),
            "enum class Op : std::uint8_t {",
            *(f"    {op.name} = {op.value}," for op in MicroOp),
            "};",
            *_predicate("reads", READ_DATA),
            *_predicate("writes", WRITE_DATA),
            *_predicate("takes_bank", ONE_BANK | FOUR_BANKS),
            *_predicate("of_normal_traffic", MEM_ONLY),
            *_predicate("of_pim", PIM_ONLY),
            "}  // namespace ianus::spec",
            "",
        )
    )


def _predicate(name: str, ops: frozenset[MicroOp]) -> tuple[str, ...]:
    test = " || ".join(f"op == Op::{op.name}" for op in sorted(ops))
    return (f"constexpr bool {name}(Op op) {{ return {test}; }}",)


def _member(port: str) -> str:
    """Verilator's name for a port: it keeps double underscores for itself."""
    return port.replace("__", "___05F")


def _pins_struct() -> list[str]:
    return ["struct ChannelPins {", *(f"    {kind}& {name};" for kind, name in _PINS), "};"]


def device_ports_header() -> str:
    """``ports.h`` of the synthesisable device alone: clock, reset and the pins of its one channel."""
    pins = ", ".join(f"top.{_member(f'phy__{name}')}" for _, name in _PINS)
    return "\n".join(
        (
            "// Generated from the port names of the synthesisable device.",
            "#pragma once",
            '#include "Vtop.h"',
            "namespace ianus::ports {",
            *(f"inline auto& {name}(Vtop& top) {{ return top.{name}; }}" for name in ("clk", "rst")),
            *_pins_struct(),
            f"inline ChannelPins channel(Vtop& top) {{ return {{{pins}}}; }}",
            "}  // namespace ianus::ports",
            "",
        )
    )


def serial_ports_header() -> str:
    """``ports.h`` of a board behind a serial line."""
    names = ("clk", "rx", "tx")
    return "\n".join(
        (
            "// Generated from the port names of the prototype behind a serial line.",
            "#pragma once",
            '#include "Vtop.h"',
            "namespace ianus::ports {",
            *(f"inline auto& {name}(Vtop& top) {{ return top.{name}; }}" for name in names),
            "}  // namespace ianus::ports",
            "",
        )
    )


def ports_header(config: Config) -> str:
    """``ports.h``: short names for the ports of the Verilated ``Vtop``, and a channel's pins by its number.

    Everything is inline and ends in a plain member access.
    """
    channels = range(config.geometry.channels)
    lines = [
        "// Generated from pim_model.spec and the port names of the prototype.",
        "#pragma once",
        "#include <cstdlib>",
        '#include "Vtop.h"',
        "namespace ianus::ports {",
    ]
    lines += [
        f"inline auto& {port.replace('__', '_')}(Vtop& top) {{ return top.{_member(port)}; }}"
        for port in _PORTS
    ]
    lines += _pins_struct()
    for channel in channels:
        pins = ", ".join(f"top.{_member(f'phy__{channel}__{name}')}" for _, name in _PINS)
        lines.append(f"inline ChannelPins channel_{channel}(Vtop& top) {{ return {{{pins}}}; }}")
    lines += ["inline ChannelPins channel(Vtop& top, unsigned index) {", "    switch (index) {"]
    lines += [f"        case {channel}: return channel_{channel}(top);" for channel in channels]
    lines += ["    }", "    std::abort();", "}"]
    lines += ["template <typename Visit>", "inline void each_channel(Vtop& top, Visit&& visit) {"]
    lines += [f"    visit({channel}u, channel_{channel}(top));" for channel in channels]
    lines += ["}", "}  // namespace ianus::ports", ""]
    return "\n".join(lines)
