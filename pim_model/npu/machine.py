# Ref: IANUS (ASPLOS 2024), Tables 1 and 2, sections 4.1, 7.1 and 7.2 (systems compared)
"""One machine: which memory the NPU has, and how many cores, PIM chips and devices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from pim_model.spec.config import Config, config
from pim_model.spec.geometry import Geometry
from pim_model.spec.npu import (
    CHANNEL_BYTES_PER_NS,
    CHANNELS,
    CHANNELS_PER_CHIP,
    CHIP_BYTES,
    CONSTANTS,
    CORES,
    DEVICES,
    ISSUE_SLOTS,
    PENDING_SLOTS,
    Constants,
)
from pim_model.spec.timing import TIMINGS

__all__ = ["Machine", "System"]


class System(Enum):
    """Memory organisations that the paper compares."""

    IANUS = "ianus"
    """PIM memory is the one main memory; macros and transfers take turns."""
    NPU_MEM = "npu-mem"
    """The same NPU with plain GDDR6 of the same bandwidth."""
    PARTITIONED = "partitioned"
    """Half of the chips plain for the NPU, half PIM; both work at once, and weights lie twice while they fit."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What programs are compiled for and run on.

    Parameters
    ----------
    system : System
        Memory organisation.
    cores : int
        NPU cores that share the memory: 1, 2 or 4.
    chips : int
        Chips with PIM among the four of the memory: 1, 2 or 4; the others are plain GDDR6, so the bandwidth to the NPU
        stays. A partitioned system has PIM in half of these.
    devices : int
        Such machines on PCIe, with heads and columns of every layer spread over them: 1, 2, 4 or 8.
    timing_name : str
        Timing preset of the PIM memory.
    dual_row_buffer : bool
        Macros and transfers of memory need not wait for each other (NeuPIMs).
    refresh : bool
        Rows are refreshed. Off by default: the paper's Table 1 has neither tREFI nor tRFC.
    issue_slots, pending_slots : int
        Places of a unit's issue queue and of a core's pending queue.
    constants : Constants
        What the paper leaves open.
    """

    system: System = System.IANUS
    cores: int = CORES
    chips: int = CHANNELS // CHANNELS_PER_CHIP
    devices: int = 1
    timing_name: str = TIMINGS[0]
    dual_row_buffer: bool = False
    refresh: bool = False
    issue_slots: int = ISSUE_SLOTS
    pending_slots: int = PENDING_SLOTS
    constants: Constants = CONSTANTS

    def __post_init__(self) -> None:
        for name, allowed in (("cores", (1, 2, 4)), ("chips", (1, 2, 4)), ("devices", DEVICES)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(str, allowed))}, not {getattr(self, name)!r}"
                )
        if self.system is System.PARTITIONED and self.chips < 2:
            raise ValueError("chips must be 2 or 4 in a partitioned system, half of them PIM, not 1")
        if self.dual_row_buffer and self.system is not System.IANUS:
            raise ValueError(
                f"dual row buffers need the system ianus, where macros and transfers meet, not {self.system.value}"
            )
        for name in ("issue_slots", "pending_slots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)!r}")

    @property
    def pim(self) -> bool:
        """Whether there is PIM at all."""
        return self.system is not System.NPU_MEM

    @property
    def exclusive(self) -> bool:
        """Whether macros and transfers of memory take turns."""
        return self.system is System.IANUS and not self.dual_row_buffer

    @property
    def pim_chips(self) -> int:
        """Chips that compute."""
        return self.chips // 2 if self.system is System.PARTITIONED else self.chips

    @property
    def memory(self) -> Config:
        """The PIM memory; of NPU-MEM, its plain memory, which has the same timing."""
        whole = config("ianus_dual" if self.dual_row_buffer else "ianus", self.timing_name)
        channels = CHANNELS_PER_CHIP * self.pim_chips
        rows = CHIP_BYTES // (CHANNELS_PER_CHIP * whole.geometry.banks * whole.geometry.row_bytes)
        return replace(whole, geometry=Geometry(channels=channels, banks=whole.geometry.banks, rows=rows))

    @property
    def pim_bytes(self) -> int:
        """Memory that computes; of NPU-MEM none."""
        return self.pim_chips * CHIP_BYTES if self.pim else 0

    @property
    def memory_bytes(self) -> int:
        """All memory of a device."""
        return CHANNELS // CHANNELS_PER_CHIP * CHIP_BYTES

    @property
    def core_bytes_per_ns(self) -> float:
        """External bandwidth that a core has for itself: its own channels'."""
        plain = CHANNELS
        if self.system is System.PARTITIONED:
            plain -= CHANNELS_PER_CHIP * self.pim_chips
        return plain * CHANNEL_BYTES_PER_NS / self.cores
