"""What the device says of itself in its read-only registers."""

from __future__ import annotations

from dataclasses import dataclass

from host_runtime.errors import AbiMismatch, BuildMismatch, ConfigMismatch, LinkDown
from host_runtime.transport.base import Transport
from pim_model.spec.config import Config
from pim_model.spec.registers import ABI_MAJOR, IDENTITY, Feature, Reg
from pim_model.spec.timing import TIMINGS

__all__ = ["DEAD", "DeviceInfo", "identify", "read_info", "require_alive"]

DEAD = 0xFFFFFFFF
"""What every register reads as when there is nothing that answers."""


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

    @property
    def memory_bytes(self) -> int:
        """Bytes of DRAM, at address 0 of the data window."""
        return self.channels * self.banks * self.rows * self.row_bytes

    @property
    def buffer_base(self) -> int:
        """First address of the activation buffer in the data window."""
        return 1 << (max(self.memory_bytes, self.buffer_bytes) - 1).bit_length()

    @property
    def build_digits(self) -> str:
        """The digest as ``ianus fpga build`` prints it: 16 hexadecimal digits."""
        return f"{self.build:016x}"

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


def require_alive(transport: Transport) -> None:
    """:class:`LinkDown` if nothing answers."""
    if transport.read_register(Reg.ID) == DEAD:
        raise LinkDown(
            "the device's ID register reads as all ones: the card is off the bus or not configured"
        )


def identify(transport: Transport, build: int | None = None) -> DeviceInfo:
    """What the device says of itself, once it is known to be an IANUS, of a known map and of the expected build.

    Nothing else is asked before that, and nothing is written. ``build``: the digest that it must have, or None.
    """
    require_alive(transport)
    identity = transport.read_register(Reg.ID)
    if identity != IDENTITY:
        raise AbiMismatch(f"the device's ID register must be {IDENTITY:#010x}, not {identity:#010x}")
    return read_info(transport, build)


def read_info(transport: Transport, build: int | None = None) -> DeviceInfo:
    """Read the identification registers; :class:`AbiMismatch` if their map is another one.

    :class:`BuildMismatch` if another ``build`` is expected.
    """
    abi = transport.read_register(Reg.ABI)
    if abi >> 16 != ABI_MAJOR:
        raise AbiMismatch(f"the register map's major version must be {ABI_MAJOR}, not {abi >> 16}")
    found = transport.read_register(Reg.BUILD_LOW) | transport.read_register(Reg.BUILD_HIGH) << 32
    if build is not None and found != build:
        raise BuildMismatch(build, found)
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
        build=found,
    )
