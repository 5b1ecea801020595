"""A whole configuration of the prototype: geometry, timing preset, buffers and queues."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from .geometry import COLUMN_BYTES, Geometry
from .micro import MicroOp
from .timing import TIMINGS, Timing, timing


class RefreshPolicy(IntEnum):
    """How normal traffic is refreshed. In macros all banks work together, and both refresh all of them at once."""

    ALL_BANK = 0
    """All banks of a channel with one REFAB each tREFI."""
    PER_BANK = 1
    """One bank after the other with a REFPB each tREFI / banks, while the others go on."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One build of the prototype.

    Parameters
    ----------
    name : str
        Preset name, for reports.
    geometry : Geometry
        Shape of the memory.
    timing_name : str
        A key of :data:`pim_model.spec.timing.TIMINGS`.
    buffer_bytes : int
        Size of the activation buffer in the PCU (inputs, biases, results); a power of two, 1 KiB to 1 MiB.
    macro_queue : int
        Macros that the PCU holds besides the running one; 2 to 64.
    completion_queue : int
        Completions held until the host takes them; 2 to 64.
    normal_queue : int
        Accesses of normal traffic that wait in a controller, and writes whose data it holds; a power of two, 8 to 32.
        Twice as many reads may be under way.
    refresh : RefreshPolicy
        What the controllers refresh under normal traffic.
    dual_row_buffer : bool
        Each bank has a row buffer for normal traffic and one for PIM, and both work at once. Only with registers
        reached directly, since register mode wants all rows closed, and with refreshes of all banks.
    """

    name: str
    geometry: Geometry
    timing_name: str = "ianus_ck"
    buffer_bytes: int = 256 * 1024
    macro_queue: int = 8
    completion_queue: int = 8
    normal_queue: int = 32
    refresh: RefreshPolicy = RefreshPolicy.ALL_BANK
    dual_row_buffer: bool = False

    def __post_init__(self) -> None:
        if self.timing_name not in TIMINGS:
            raise ValueError(f"timing must be one of {', '.join(TIMINGS)}, not {self.timing_name!r}")
        size = self.buffer_bytes
        if size & (size - 1) or not 1024 <= size <= 1 << 20:
            raise ValueError(f"buffer_bytes must be a power of two from 1024 to 1048576, not {size!r}")
        for field in ("macro_queue", "completion_queue"):
            if not 2 <= getattr(self, field) <= 64:
                raise ValueError(f"{field} must be from 2 to 64, not {getattr(self, field)!r}")
        if self.normal_queue not in (8, 16, 32):
            raise ValueError(f"normal_queue must be 8, 16 or 32, not {self.normal_queue!r}")
        if self.dual_row_buffer:
            if not self.timing.direct:
                raise ValueError(
                    f"timing must reach registers directly with dual row buffers, not {self.timing_name!r}"
                )
            if self.refresh is not RefreshPolicy.ALL_BANK:
                raise ValueError(f"refresh must be ALL_BANK with dual row buffers, not {self.refresh.name}")

    @property
    def timing(self) -> Timing:
        """The resolved timing preset."""
        return timing(self.timing_name, dual=self.dual_row_buffer)

    @property
    def row_closer(self) -> MicroOp:
        """What closes the rows of a MATVEC."""
        return MicroOp.PREP if self.dual_row_buffer else MicroOp.PREA

    @property
    def buffer_words(self) -> int:
        """Words of 32 bytes in the activation buffer."""
        return self.buffer_bytes // COLUMN_BYTES

    @property
    def window_bits(self) -> int:
        """Address bits of the host's data window: the memory, and above it the activation buffer."""
        return max(self.geometry.address_bits, (self.buffer_bytes - 1).bit_length()) + 1

    @property
    def buffer_base(self) -> int:
        """First address of the activation buffer in the data window."""
        return 1 << (self.window_bits - 1)


# Ref: IANUS (ASPLOS 2024), Table 1: 8 channels, 16 banks, 2 KB rows, 8 GB.
_IANUS = Config(name="ianus", geometry=Geometry(channels=8, banks=16, rows=32768))
# Small on purpose: edges, wraps and full queues are reached quickly.
_TINY = Config(
    name="tiny",
    geometry=Geometry(channels=2, banks=4, rows=64, row_bytes=256),
    buffer_bytes=16 * 1024,
    macro_queue=2,
    completion_queue=2,
)
# Holds whole activation tables and the embedded language model, and is small enough for a synthesisable device.
_SMALL = Config(name="small", geometry=Geometry(channels=2, banks=4, rows=512), buffer_bytes=64 * 1024)
# What block RAM of a Lattice LFE5U-85F holds: 208 blocks of 18 kbit, of which cells take 128 and the activation buffer,
# which has two read ports, 32. Whole rows, since activation tables need them. Its 156 multipliers serve four banks.
# Short queues: those of 32 accesses would be a tenth of its logic, and a serial line fills none.
_ULX3S = Config(
    name="ulx3s",
    geometry=Geometry(channels=1, banks=4, rows=32),
    buffer_bytes=16 * 1024,
    macro_queue=2,
    completion_queue=2,
    normal_queue=8,
)
# The paper's channels and banks; rows that UltraRAM of an XCVU9P holds: four of its 960 blocks are 64 rows of a bank.
_VCU118 = Config(name="vcu118", geometry=Geometry(channels=8, banks=16, rows=64), buffer_bytes=64 * 1024)

CONFIGS: dict[str, Config] = {
    config.name: config
    for config in (
        _IANUS,
        _TINY,
        _SMALL,
        _ULX3S,
        _VCU118,
        replace(_IANUS, name="ianus_refpb", refresh=RefreshPolicy.PER_BANK),
        replace(_TINY, name="tiny_refpb", refresh=RefreshPolicy.PER_BANK),
        replace(_IANUS, name="ianus_dual", dual_row_buffer=True),
        replace(_TINY, name="tiny_dual", dual_row_buffer=True),
    )
}


def config(name: str, timing_name: str | None = None) -> Config:
    """Preset ``name``, with another timing preset if given; ``ValueError`` lists the names there are."""
    try:
        preset = CONFIGS[name]
    except KeyError:
        raise ValueError(f"config must be one of {', '.join(CONFIGS)}, not {name!r}") from None
    return preset if timing_name is None else replace(preset, timing_name=timing_name)
