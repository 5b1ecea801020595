"""What a device says of itself, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from host_runtime.cli.output import Output
from host_runtime.errors import ConfigMismatch
from host_runtime.identity import DeviceInfo
from pim_model.spec.config import CONFIGS, RefreshPolicy, config
from pim_model.spec.timing import TIMINGS

__all__ = ["show_device"]


def show_device(output: Output, backend: str, device: DeviceInfo) -> dict[str, Any]:
    """Print the identity and return it as JSON has it."""
    presets = _presets(device)
    timing = TIMINGS[device.timing] if device.timing < len(TIMINGS) else f"unknown ({device.timing})"
    refresh = {policy.value: policy.name for policy in RefreshPolicy}.get(device.refresh, "unknown")
    output.table(
        f"device on {backend}",
        {
            "build": device.build_digits if device.build else "0 (a simulation)",
            "register map": f"version {device.abi >> 16}.{device.abi & 0xFFFF}",
            "configuration": ", ".join(presets) or "none of the presets",
            "memory": f"{device.channels} channels x {device.banks} banks x {device.rows} rows x "
            f"{device.row_bytes} bytes = {device.memory_bytes / (1 << 20):g} MiB",
            "activation buffer": f"{device.buffer_bytes} bytes at {device.buffer_base:#x}",
            "queues": f"{device.macro_queue} macros, {device.completion_queue} completions",
            "timing": timing,
            "refresh": refresh,
            "row buffers a bank": "one for normal traffic, one for PIM" if device.dual_row_buffer else "one",
        },
    )
    return asdict(device) | {
        "build": device.build_digits,
        "timing": timing,
        "refresh": refresh,
        "presets": presets,
    }


def _presets(device: DeviceInfo) -> list[str]:
    """Values of ``--config`` whose shape the device has."""
    found = []
    for name in CONFIGS:
        if device.timing < len(TIMINGS):
            try:
                device.require(config(name, TIMINGS[device.timing]))
                found.append(name)
            except (ConfigMismatch, ValueError):  # ValueError: no such preset with that timing
                continue
    return found
