"""Boards that a bitstream can be built for."""

from __future__ import annotations

from dataclasses import dataclass

from fpga.errors import FpgaUnavailable

__all__ = ["BOARDS", "Board", "Pll", "board"]


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Dividers of an ECP5's PLL: of its input, of the feedback, and of its oscillator for the output."""

    input: int
    feedback: int
    output: int


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board with a Lattice ECP5, its clock, and where the ports of ``SerialPrototype`` go.

    Parameters
    ----------
    name, title : str
    device, package, speed : str
        As nextpnr-ecp5 names them.
    oscillator_hz : int
        At ``clk``.
    pll : Pll
        Makes the clock that the whole design runs on.
    divisor : int
        Cycles a bit of the serial line.
    config : str
        The configuration that fits.
    checked : bool
        There is room for the checkers.
    pins : dict
        Pin and IO attributes by port.
    luts, block_rams, multipliers, flip_flops : int
        What the device has. # Ref: ECP5 and ECP5-5G Family Data Sheet (FPGA-DS-02012), table 1.1
    """

    name: str
    title: str
    device: str
    package: str
    speed: str
    oscillator_hz: int
    pll: Pll
    divisor: int
    config: str
    checked: bool
    pins: dict[str, tuple[str, dict[str, str]]]
    luts: int
    block_rams: int
    multipliers: int
    flip_flops: int

    @property
    def clock_hz(self) -> int:
        """Of the design."""
        return self.oscillator_hz * self.pll.feedback // self.pll.input

    @property
    def baud(self) -> int:
        """Bits a second of the serial line."""
        return self.clock_hz // self.divisor

    def constraints(self) -> str:
        """The LPF file: pins, their electrical attributes, and the clock."""
        lines = ["BLOCK ASYNCPATHS;", "BLOCK RESETPATHS;"]
        for port, (pin, attributes) in self.pins.items():
            lines.append(f'LOCATE COMP "{port}" SITE "{pin}";')
            values = " ".join(f"{name}={value}" for name, value in attributes.items())
            lines.append(f'IOBUF PORT "{port}" {values};')
        lines.append(f'FREQUENCY PORT "clk" {self.oscillator_hz} HZ;')
        return "\n".join((*lines, ""))


def _ulx3s() -> Board:
    try:
        from amaranth_boards.ulx3s import ULX3S_85F_Platform
    except ModuleNotFoundError as error:
        raise FpgaUnavailable(
            f"{error.name} is not installed: install the fpga extra (pip install 'ianus[fpga]')"
        ) from error
    platform = ULX3S_85F_Platform()
    clock, uart = platform.lookup("clk25"), platform.lookup("uart")
    leds = [platform.lookup("led", number) for number in (0, 1)]
    subsignals = {each.name: each for each in uart.ios if hasattr(each, "ios")}
    pins = {
        "clk": (clock.ios[0].names[0], clock.attrs),
        "rx": (subsignals["rx"].ios[0].names[0], uart.attrs),
        "tx": (subsignals["tx"].ios[0].names[0], uart.attrs),
        "irq": (leds[0].ios[0].names[0], leds[0].attrs),
        "alive": (leds[1].ios[0].names[0], leds[1].attrs),
    }
    return Board(
        name="ulx3s",
        title="ULX3S with LFE5U-85F",
        device="85k",
        package="CABGA381",
        speed=platform.speed,
        oscillator_hz=int(clock.clock.frequency),
        pll=Pll(input=5, feedback=2, output=60),  # 10 MHz; its own oscillator at 600 of 400 to 800 MHz
        divisor=10,  # a million bits a second, a rate that both termios and the board's FT231X have
        config="ulx3s",
        checked=False,  # an eighth of the design
        pins={port: (pin, dict(attributes)) for port, (pin, attributes) in pins.items()},
        luts=83640,
        block_rams=208,
        multipliers=156,
        flip_flops=83640,
    )


BOARDS = {"ulx3s": _ulx3s}


def board(name: str) -> Board:
    """The board ``name``; ``ValueError`` lists those there are, :class:`FpgaUnavailable` without the extra ``fpga``."""
    if name not in BOARDS:
        raise ValueError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]()
