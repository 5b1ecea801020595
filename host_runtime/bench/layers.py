# Ref: IANUS (ASPLOS 2024), Table 3 and section 5
"""The fully connected layers of one block of each GPT-2, measured on the RTL and held against the timing rules."""

from __future__ import annotations

from typing import Any

from host_runtime.bench.product import Operands, measure_product
from host_runtime.transport import Progress, open_transport
from pim_model.spec.config import config

__all__ = ["layer_rates"]

EMBEDDINGS = {"base": 768, "M": 1024, "L": 1280, "XL": 1536, "2.5B": 1920}
"""Embedding of each GPT-2."""

LAYERS = {"qkv": (3, 1), "projection": (1, 1), "ffn up": (4, 1), "ffn down": (1, 4)}
"""Rows and columns of each layer's weights, in embeddings."""


def layer_rates(progress: Progress | None = None) -> dict[str, Any]:
    """For each GPT-2 the four products of a block for one token, with refresh.

    ``cycles`` from the first byte staged to the last result read, ``macro_cycles`` of the macros alone;
    ``cycles_per_byte``: macro cycles by bytes of weights; ``excess_cycles``: later than the timing rules ask.
    """
    shape = config("ianus")
    result: dict[str, Any] = {}
    for name, embedding in EMBEDDINGS.items():
        products = []
        for rows, columns in LAYERS.values():
            operands = Operands.random(rows * embedding, columns * embedding, 1, 1)
            with open_transport("verilator", shape, "aligned", progress) as transport:
                products.append(measure_product(transport, shape, "aligned", operands, excess=True))
        size = 2 * sum(rows * columns for rows, columns in LAYERS.values()) * embedding**2
        cycles = sum(each.cycles for each in products)
        macros = sum(each.macro_cycles for each in products)
        result[name] = {
            "cycles": cycles,
            "macro_cycles": macros,
            "bytes_per_second": size / (cycles * shape.timing.cycle_ns) * 1e9,
            "cycles_per_byte": macros / size,
            "excess_cycles": sum(each.excess_cycles or 0 for each in products),
            "mismatches": sum(each.mismatches for each in products),
            "violations": sum(each.violations for each in products),
        }
    return result
