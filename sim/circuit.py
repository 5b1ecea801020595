"""Names circuits by their Verilog, so that two trees of sources can be compared: `python -m sim.circuit tiny ...`.

Prints a line for each circuit asked for: its name and a digest. The Verilog goes into the cache of ``sim.build``, where
whoever builds it next finds it.
"""

from __future__ import annotations

import gc
import sys

from pim_model.buildcache import digest
from pim_model.spec.config import config
from sim.build import verilog

__all__ = ["circuit"]


def circuit(name: str) -> str:
    """Digest of the Verilog of ``CONFIG`` or ``CONFIG/TIMING``, with ``:rtl`` behind it with the device in RTL."""
    shape, _, device = name.partition(":")
    preset, _, timing = shape.partition("/")
    if device not in ("", "rtl"):
        raise ValueError(f"device must be rtl or left out, not {device!r}")
    return digest(verilog(config(preset, timing or None), device="rtl" if device else "cpp"))


if __name__ == "__main__":
    # Elaboration makes millions of objects and drops none before its end.
    gc.disable()
    for each in sys.argv[1:]:
        print(each, circuit(each), flush=True)
