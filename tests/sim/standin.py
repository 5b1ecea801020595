"""The stand-in design for a configuration, and its registers."""

from __future__ import annotations

from pathlib import Path

from pim_model.spec.config import Config

SCRATCH, BREACHES, STALL, INTERRUPT = 0x00, 0x04, 0x08, 0x0C
COMMAND, FIRE, WRITE_DATA, READ_DATA, READS, LATENCY = 0x10, 0x1C, 0x20, 0x40, 0x60, 0x64
SILENT, DECODE_ERROR = 0x400, 0x800
MEMORY_BYTES, SLAVE_ERROR, SILENT_MEMORY = 1 << 14, 1 << 15, 1 << 16

_PINS = """output [4:0] phy__{c}__op0, output [3:0] phy__{c}__bank0, output [15:0] phy__{c}__row0,
  output [5:0] phy__{c}__column0, output [4:0] phy__{c}__op1, output [5:0] phy__{c}__column1,
  output [1:0] phy__{c}__mode0, output [1:0] phy__{c}__mode1,
  output [255:0] phy__{c}__wdata, output [31:0] phy__{c}__wmask,
  input phy__{c}__rvalid, input [255:0] phy__{c}__rdata"""

_DRIVER = """wire fire_{c} = fire & fire_channel == {c};
  assign phy__{c}__op0 = fire_{c} ? word0[4:0] : 5'd0;
  assign phy__{c}__op1 = fire_{c} ? word1[20:16] : 5'd0;
  assign phy__{c}__bank0 = word0[11:8];
  assign phy__{c}__column0 = word0[21:16];
  assign phy__{c}__row0 = word1[15:0];
  assign phy__{c}__column1 = word1[29:24];
  assign phy__{c}__mode0 = word0[25:24];
  assign phy__{c}__mode1 = word1[31:30];
  assign phy__{c}__wdata = data;
  assign phy__{c}__wmask = mask;"""


def standin(config: Config) -> str:
    """Verilog of a module ``top`` with the prototype's ports in ``config``."""
    channels = range(config.geometry.channels)
    text = Path(__file__).with_suffix(".v").read_text(encoding="utf-8").partition("\nmodule ")
    body = text[1] + text[2]
    for mark, value in (
        ("TOP", str(config.window_bits - 1)),
        ("CHANNELS", str(len(channels))),
        ("PINS", ",\n  ".join(_PINS.format(c=c) for c in channels)),
        ("DRIVERS", "\n  ".join(_DRIVER.format(c=c) for c in channels)),
        ("VALIDS", ", ".join(f"phy__{c}__rvalid" for c in reversed(channels))),
        ("DATAS", ", ".join(f"phy__{c}__rdata" for c in reversed(channels))),
    ):
        body = body.replace(f"@{mark}@", value)
    return body
