"""What the device says of itself in its read-only registers."""

from __future__ import annotations

from dataclasses import dataclass

from host_runtime.errors import AbiMismatch, ConfigMismatch
from host_runtime.transport.base import Transport
from pim_model.spec.config import Config
from pim_model.spec.registers import ABI_MAJOR, Feature, Reg
from pim_model.spec.timing import TIMINGS

__all__ = ["DeviceInfo", "read_info"]


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """Shape, timing and depths of a device; sizes in bytes."""

    abi: int
    channels: int
    banks: int
    rows: int
    row_bytes: int
    buffer_bytes: int
    timing: int
    refresh: int
    dual_row_buffer: bool
    macro_queue: int
    completion_queue: int
    build: int
    """Digest of the bitstream's sources; 0 in a simulation."""

    def require(self, config: Config) -> None:
        """Raise :class:`ConfigMismatch` naming each difference to ``config``."""
        shape = config.geometry
        wanted = {
            "channels": shape.channels,
            "banks": shape.banks,
            "rows": shape.rows,
            "row_bytes": shape.row_bytes,
            "buffer_bytes": config.buffer_bytes,
            "timing": TIMINGS.index(config.timing_name),
            "refresh": int(config.refresh),
            "dual_row_buffer": config.dual_row_buffer,
            "macro_queue": config.macro_queue,
            "completion_queue": config.completion_queue,
        }
        wrong = [
            f"{name} must be {value!r}, not {getattr(self, name)!r}"
            for name, value in wanted.items()
            if getattr(self, name) != value
        ]
        if wrong:
            raise ConfigMismatch(f"the device is no {config.name!r}: {'; '.join(wrong)}")


def read_info(transport: Transport) -> DeviceInfo:
    """Read the identification registers; :class:`AbiMismatch` if their map is another one."""
    abi = transport.read_register(Reg.ABI)
    if abi >> 16 != ABI_MAJOR:
        raise AbiMismatch(f"the register map's major version must be {ABI_MAJOR}, not {abi >> 16}")
    timing = transport.read_register(Reg.TIMING)
    depths = transport.read_register(Reg.QUEUE_DEPTH)
    return DeviceInfo(
        abi=abi,
        channels=transport.read_register(Reg.CHANNELS),
        banks=transport.read_register(Reg.BANKS),
        rows=transport.read_register(Reg.ROWS),
        row_bytes=transport.read_register(Reg.ROW_BYTES),
        buffer_bytes=transport.read_register(Reg.BUFFER_BYTES),
        timing=timing & 0xFF,
        refresh=timing >> 8,
        dual_row_buffer=bool(transport.read_register(Reg.FEATURES) & Feature.DUAL_ROW_BUFFER),
        macro_queue=depths & 0xFFFF,
        completion_queue=depths >> 16,
        build=transport.read_register(Reg.BUILD_LOW) | transport.read_register(Reg.BUILD_HIGH) << 32,
    )
