"""What the VCU118 has, and where its pins are.

# Ref: AMD UG1224, VCU118 Evaluation Board User Guide: clock generation, PCI Express endpoint connectivity, USB UART,
# user I/O; and the board's master constraints file. Each resource names its interface in Vivado's board file vcu118.
# Ref: AMD DS890, UltraScale Architecture and Product Data Sheet: Overview, table of Virtex UltraScale+ (XCVU9P)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from amaranth import ClockSignal, Instance, Module
from amaranth.build import Attrs, Clock, DiffPairs, Pins, PinsN, Resource, Subsignal
from amaranth.lib.memory import Memory
from amaranth.vendor import XilinxPlatform

__all__ = ["DEVICE", "LANES", "PART", "ULTRA_BITS", "ULTRA_WORDS", "Device", "Vcu118Platform"]

LANES = 8
"""PCIe lanes in use of the sixteen of the edge connector: 8 GT/s over eight are 256 bits at 250 MHz, the data window's
width."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """What an FPGA has, by the names of the resource table."""

    luts: int
    flip_flops: int
    block_rams: int
    ultra_rams: int
    dsps: int


DEVICE = Device(luts=1_182_240, flip_flops=2_364_480, block_rams=2_160, ultra_rams=960, dsps=6_840)

ULTRA_WORDS, ULTRA_BITS = 4096, 72
"""Of an UltraRAM block; a memory of fewer words would leave it empty. # Ref: AMD UG573, UltraRAM Resources"""


class Vcu118Platform(XilinxPlatform):
    """Pins as Amaranth resources; memories of 4096 columns and more are UltraRAM.

    Lanes of PCIe are numbered as on the edge connector: lanes 0 to 3 are GTY quad 227, 4 to 7 quad 226.
    """

    device = "xcvu9p"
    package = "flga2104"
    speed = "2L-e"
    default_clk = "sysclk_250"
    connectors: ClassVar[list[Any]] = []
    resources: ClassVar[list[Any]] = [
        # default_250mhz_clk1 and default_sysclk1_300
        Resource("sysclk_250", 0, DiffPairs("E12", "D12", dir="i"), Clock(250e6), Attrs(IOSTANDARD="DIFF_SSTL12")),
        Resource("sysclk_300", 0, DiffPairs("G31", "F31", dir="i"), Clock(300e6), Attrs(IOSTANDARD="DIFF_SSTL12")),
        # led_8bits: GPIO_LED_0 to GPIO_LED_7
        *(
            Resource("led", number, Pins(pin, dir="o"), Attrs(IOSTANDARD="LVCMOS12", SLEW="SLOW", DRIVE="8"))
            for number, pin in enumerate("AT32 AV34 AY30 BB32 BF32 AU37 AV36 BA37".split())
        ),
        # rs232_uart: the USB bridge CP2105; names as the FPGA sees them
        Resource("uart", 0,
            Subsignal("rx", Pins("AW25", dir="i")), Subsignal("tx", Pins("BB21", dir="o")),
            Attrs(IOSTANDARD="LVCMOS18"),
        ),
        # pci_express_x8, pcie_refclk (MGTREFCLK0 of quad 227), pcie_perstn
        Resource("pcie", 0,
            Subsignal("refclk", DiffPairs("AC9", "AC8", dir="i"), Clock(100e6)),
            Subsignal("perst", PinsN("AM17", dir="i"), Attrs(IOSTANDARD="LVCMOS18", PULLTYPE="PULLUP")),
            Subsignal("rx", DiffPairs("AA4 AB2 AC4 AD2 AE4 AF2 AG4 AH2", "AA3 AB1 AC3 AD1 AE3 AF1 AG3 AH1", dir="i")),
            Subsignal("tx", DiffPairs("Y7 AB7 AD7 AF7 AH7 AK7 AM7 AN5", "Y6 AB6 AD6 AF6 AH6 AK6 AM6 AN4", dir="o")),
        ),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__(toolchain="Vivado")

    def get_memory(self, memory: Memory) -> Any:
        """``ultra_ram.v`` for what is deep enough, the language's memory for all else.

        UltraRAM has no initial contents, and Vivado gives it to no memory that asks for some, be they zeros: Amaranth's
        always do.
        """
        if memory.depth < ULTRA_WORDS:
            return memory.elaborate(None)
        (read,), (write,) = memory.read_ports, memory.write_ports
        bits, granularity = len(read.data), len(write.data) // len(write.en)
        if any(memory.init[:]) or read.domain != write.domain or granularity != 8:
            raise ValueError(f"an UltraRAM must have one clock, bytes and no contents, not {memory!r}")
        m = Module()
        m.submodules.ultra = Instance(
            "ultra_ram",
            p_ADDRESS_BITS=len(read.addr),
            p_BYTES=bits // 8,
            i_clk=ClockSignal(read.domain),
            i_read=read.en,
            i_write=write.en,
            i_address=read.addr,
            i_data=write.data,
            o_q=read.data,
        )
        return m


PART = f"{Vcu118Platform.device}-{Vcu118Platform.package}-{Vcu118Platform.speed}"
