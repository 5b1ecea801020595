"""The synthesised netlist as Verilog for a simulator: what the router is given, cell by cell.

Yosys's own Verilog of it spells out 140 MB of initial contents that are zeros. Here LUTs become expressions, flip-flops
of one enable and reset one process, and memories instances of ``cells.v``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["netlist_verilog"]

_MODELS = Path(__file__).with_name("cells.v")
_LINT = ("UNUSEDSIGNAL", "UNDRIVEN", "UNOPTFLAT", "DECLFILENAME", "MULTITOP", "PINCONNECTEMPTY")
_RAM9 = {"DATA_WIDTH_A": 9, "WRITEMODE_A": "NORMAL"}
_RAM36 = {"DATA_WIDTH_A": 36, "DATA_WIDTH_B": 36}
_RAM = {
    "REGMODE_A": "NOREG",
    "REGMODE_B": "NOREG",
    "CSDECODE_A": "0b000",
    "CSDECODE_B": "0b000",
    "CLKAMUX": "CLKA",
    "CLKBMUX": "CLKB",
}


class _Cell:
    """One cell: nets by pin, parameters as numbers or text."""

    def __init__(self, number: int, name: str, content: dict[str, Any]):
        self.name, self.type = name, content["type"]
        self.instance = f"u{number}"
        self._pins: dict[str, list[int | str]] = content["connections"]
        self._parameters: dict[str, str] = content["parameters"]

    def pins(self, name: str) -> str:
        """The nets of a pin of some bits, highest first; of an unconnected one zero."""
        nets = [_net(bit) for bit in reversed(self._pins.get(name, ["0"]))]
        return nets[0] if len(nets) == 1 else f"{{{', '.join(nets)}}}"

    def bus(self, name: str, numbers: range) -> str:
        """The nets of numbered pins, highest first."""
        return f"{{{', '.join(self.pins(f'{name}{number}') for number in reversed(numbers))}}}"

    def outputs(self, *names: str) -> str:
        """The nets of several pins, in the order given."""
        return f"{{{', '.join(self.pins(name) for name in names)}}}"

    def parameter(self, name: str) -> int | str | None:
        value = self._parameters.get(name)
        if value is None:
            return None
        if value and set(value) <= set(
            "01x"
        ):  # of what is not told, as of a memory no word of which is used, zero
            return int(value.replace("x", "0"), 2)
        return value.strip()

    def require(self, parameters: dict[str, Any], pins: dict[str, str] | None = None) -> None:
        """``ValueError`` if the cell is in another mode."""
        for name, value in parameters.items():
            if self.parameter(name) != value:
                raise ValueError(
                    f"{self.type} {self.name} has {name} {self.parameter(name)!r}, not {value!r}"
                )
        for name, net in (pins or {}).items():
            if self.pins(name) != net:
                raise ValueError(f"{self.type} {self.name} has {self.pins(name)} at {name}, not {net}")

    def contents(self) -> None:
        """``ValueError`` if a memory does not start as zeros."""
        for name in self._parameters:
            if name.startswith("INITVAL") and self.parameter(name):
                raise ValueError(f"{self.type} {self.name} has initial contents")


def netlist_verilog(path: Path) -> str:
    """Module ``top`` of the netlist that Yosys wrote as JSON, and the models that it needs.

    Its ports are those of the design. The PLL passes its input on and is locked: a cycle of ``clk`` is one of the
    design. ``ValueError`` names a cell, or a mode of one, that there is no model of.
    """
    module = json.loads(path.read_text(encoding="utf-8"))["modules"]["top"]
    cells = [_Cell(number, *cell) for number, cell in enumerate(module["cells"].items())]
    ports = {name: (port["direction"], port["bits"][0]) for name, port in module["ports"].items()}
    names = [f"{direction} {name}" for name, (direction, _) in ports.items()]
    lines = [*(f"/* verilator lint_off {rule} */" for rule in _LINT)]
    lines += [_MODELS.read_text(encoding="utf-8"), f"module top ({', '.join(names)});"]
    nets = {
        bit
        for content in module["cells"].values()
        for bits in content["connections"].values()
        for bit in bits
        if isinstance(bit, int)
    }
    nets |= {bit for _, bit in ports.values() if isinstance(bit, int)}
    registers = {cell.pins("Q") for cell in cells if cell.type == "TRELLIS_FF"}
    for bit in sorted(nets):
        net = f"n{bit}"
        lines.append(f"{'reg' if net in registers else 'wire'} {net};")
    for name, (direction, bit) in ports.items():
        lines.append(
            f"assign {_net(bit)} = {name};" if direction == "input" else f"assign {name} = {_net(bit)};"
        )
    flip_flops: dict[tuple[str, str, str], list[_Cell]] = defaultdict(list)
    for cell in cells:
        if cell.type == "TRELLIS_FF":
            flip_flops[cell.pins("CLK"), _enable(cell), cell.pins("LSR")].append(cell)
        elif cell.type in _WRITERS:
            lines += _WRITERS[cell.type](cell)
        else:
            raise ValueError(f"there is no model of {cell.type} {cell.name}")
    for (clock, enable, reset), members in flip_flops.items():
        lines += _process(clock, enable, reset, members)
    return "\n".join((*lines, "endmodule", ""))


def _net(bit: int | str) -> str:
    if isinstance(bit, int):
        return f"n{bit}"
    return "1'b1" if bit == "1" else "1'b0"


def _enable(cell: _Cell) -> str:
    return "1'b1" if cell.parameter("CEMUX") == "1" else cell.pins("CE")


def _process(clock: str, enable: str, reset: str, members: list[_Cell]) -> Iterator[str]:
    """Flip-flops of one clock, enable and reset, which wins over the enable."""
    for cell in members:
        cell.require({"CLKMUX": "CLK", "LSRMUX": "LSR", "GSR": "DISABLED"})
        if cell.parameter("SRMODE") not in (None, "LSR_OVER_CE"):
            raise ValueError(f"{cell.type} {cell.name} has SRMODE {cell.parameter('SRMODE')!r}")
        if cell.parameter("REGSET") == "SET":
            yield f"initial {cell.pins('Q')} = 1'b1;"
    yield f"always @(posedge {clock}) begin"
    if reset != "1'b0":
        yield f"if ({reset}) begin"
        for cell in members:
            yield f"{cell.pins('Q')} <= 1'b{int(cell.parameter('REGSET') == 'SET')};"
        yield "end else"
    yield f"if ({enable}) begin"
    for cell in members:
        yield f"{cell.pins('Q')} <= {cell.pins('DI')};"
    yield "end end"


def _lut(cell: _Cell) -> Iterator[str]:
    address = ", ".join(cell.pins(pin) for pin in "DCBA")
    yield f"assign {cell.pins('Z')} = 1'(16'h{cell.parameter('INIT') or 0:x} >> {{{address}}});"


def _carry(cell: _Cell) -> Iterator[str]:
    cell.require({"INJECT1_0": "NO", "INJECT1_1": "NO"})
    inputs = (f"{{{', '.join(cell.pins(pin + half) for pin in 'DCBA')}}}" for half in "01")
    yield (
        f"carry2 #(.INIT0(16'h{cell.parameter('INIT0'):x}), .INIT1(16'h{cell.parameter('INIT1'):x})) "
        f"{cell.instance} ({cell.pins('CIN')}, {', '.join(inputs)}, {cell.outputs('S1', 'S0')}, {cell.pins('COUT')});"
    )


def _distributed(cell: _Cell) -> Iterator[str]:
    cell.require({"WCKMUX": "WCK", "WREMUX": "WRE"})
    cell.contents()
    pins = ", ".join(cell.pins(pin) for pin in ("WCK", "WRE", "WAD", "DI", "RAD", "DO"))
    yield f"ram16x4 {cell.instance} ({pins});"


def _block(cell: _Cell) -> Iterator[str]:
    zeros = ("RSTA", "RSTB", "WEB", *(f"CS{port}{bit}" for port in "AB" for bit in range(3)))
    cell.require(_RAM, dict.fromkeys(zeros, "1'b0"))
    cell.contents()
    if cell.parameter("DATA_WIDTH_A") == 9:
        cell.require(_RAM9, {"CEB": "1'b0"})
        data = cell.outputs(*(f"DOA{bit}" for bit in reversed(range(9))))
        yield (
            f"ram2048x9 {cell.instance} ({cell.pins('CLKA')}, {cell.pins('CEA')}, {cell.pins('WEA')}, "
            f"{cell.bus('ADA', range(3, 14))}, {cell.bus('DIA', range(9))}, {data});"
        )
        return
    cell.require(_RAM36, {"WEA": "1'b1", "CLKB": cell.pins("CLKA")})
    written = f"{{{cell.bus('DIB', range(18))}, {cell.bus('DIA', range(18))}}}"
    read = cell.outputs(*(f"DO{port}{bit}" for port in "BA" for bit in reversed(range(18))))
    yield (
        f"ram512x36 {cell.instance} ({cell.pins('CLKA')}, {cell.pins('CEA')}, {cell.bus('ADA', range(4))}, "
        f"{cell.bus('ADA', range(5, 14))}, {written}, {cell.pins('CEB')}, {cell.bus('ADB', range(5, 14))}, "
        f"{read});"
    )


def _multiplier(cell: _Cell) -> Iterator[str]:
    zeros = dict.fromkeys(("SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB"), "1'b0")
    cell.require({f"REG_{name}_CLK": None for name in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")}, zeros)
    product = cell.outputs(*(f"P{bit}" for bit in reversed(range(36))))
    yield (f"assign {product} = 36'({cell.bus('A', range(18))}) * 36'({cell.bus('B', range(18))});")


def _pll(cell: _Cell) -> Iterator[str]:
    yield f"assign {cell.pins('CLKOP')} = {cell.pins('CLKI')};"
    yield f"assign {cell.pins('LOCK')} = 1'b1;"


def _gate(cell: _Cell) -> Iterator[str]:
    yield f"clock_gate {cell.instance} ({cell.pins('CLKI')}, {cell.pins('CE')}, {cell.pins('CLKO')});"


_WRITERS: dict[str, Callable[[_Cell], Iterator[str]]] = {
    "LUT4": _lut,
    "CCU2C": _carry,
    "TRELLIS_DPR16X4": _distributed,
    "DP16KD": _block,
    "MULT18X18D": _multiplier,
    "EHXPLLL": _pll,
    "DCCA": _gate,
}
