# Ref: IANUS (ASPLOS 2024), sections 3, 7 and 8
"""Tier 4: what the paper leaves too open for a verdict, or measured on hardware that is not here."""

from __future__ import annotations

from pim_model.npu.closed_form import ClosedForm
from pim_model.paper.bench import GPT2, IANUS
from pim_model.paper.claim import Claim, Value
from pim_model.spec.config import config

__all__ = ["CLAIMS"]

_PIM_ATTENTION = (
    "what it costs to append a value in PIM is not published; a calibrated constant stands for it"
)
_GPU = "needs measurements on an A100"
_FPGA = "needs measurements on DFX, four FPGAs"


def _foreign(id: str, statement: str, paper: Value, note: str, figure: str = "") -> Claim:
    return Claim(id, statement, 4, paper, None, note=note, figure=figure)


def _bandwidth(timing: str) -> float:
    """TB/s of weights in a long product of full tiles."""
    closed = ClosedForm(config("ianus", timing))
    cycles = closed.cycles(128 * 65, 1024) - closed.cycles(128, 1024)
    return 64 * 128 * 2048 / (cycles * closed.config.timing.cycle_ns) / 1e3


_PRESETS = {
    "ianus_ck": "read as CK",
    "ianus_printed": "as printed",
    "aim_simulator": "of the public simulator",
}

CLAIMS: list[Claim] = [
    *(
        Claim(
            f"C63-{name}",
            f"effective bandwidth of PIM, TB/s, timing {text}",
            4,
            2.4,
            lambda _, name=name: _bandwidth(name),  # type: ignore[misc]
            note="Table 1 does not say its unit",
            figure="17",
        )
        for name, text in _PRESETS.items()
    ),
    *(
        Claim(
            f"C28-{name}",
            f"{name} (128, 512), ms a token, if an A100's time is all launches",
            4,
            paper,
            lambda bench, name=name: bench.token_ms(name, IANUS, 128, 512),  # type: ignore[misc]
            note="derived from ratios to an A100",
            figure="8",
        )
        for name, paper in zip(GPT2[:3], (1.11, 2.46, 4.03), strict=True)
    ),
    Claim(
        "C31",
        "XL (128, 1), ms, behind 49.3 times DFX",
        4,
        17.9,
        lambda bench: bench.prompt_ms(IANUS),
        note="derived from a time of DFX that the paper does not give",
        figure="9",
    ),
    *(
        Claim(
            f"C42-{name}",
            f"{name}: normal memory's energy, NPU-MEM over IANUS",
            4,
            paper,
            lambda bench, name=name: bench.energy_ratio(name, "memory"),  # type: ignore[misc]
            note="the paper gives the ends of a range that grows with the model",
            figure="11",
        )
        for name, paper in (("gpt2-m", 10.5), ("gpt2-2.5b", 13.4))
    ),
    *(
        Claim(
            f"C43-{name}",
            f"{name}: NPU cores' energy, NPU-MEM over IANUS",
            4,
            paper,
            lambda bench, name=name: bench.energy_ratio(name, "core"),  # type: ignore[misc]
            note="the paper gives the ends of a range that grows with the model",
            figure="11",
        )
        for name, paper in (("gpt2-m", 6.3), ("gpt2-2.5b", 10.2))
    ),
    Claim(
        "C53",
        "attention in PIM: scheduled over naive, mean",
        4,
        1.07,
        lambda bench: bench.schedules("naive-pim", "pas-pim"),
        note=_PIM_ATTENTION,
        figure="13",
    ),
    Claim(
        "C54",
        "M, L, XL: attention in PIM, scheduled, over on the matrix unit, naive",
        4,
        "above 1",
        lambda bench: bench.schedules("pas-pim", "naive", *GPT2[:3]),
        note=_PIM_ATTENTION,
        figure="13",
    ),
    Claim(
        "C54-2.5B",
        "the same for 2.5B",
        4,
        "below 1",
        lambda bench: bench.schedules("pas-pim", "naive", "gpt2-2.5b"),
        note=_PIM_ATTENTION,
        figure="13",
    ),
    Claim(
        "C55",
        "2.5B: attention on the matrix unit, scheduled, over in PIM, naive",
        4,
        1.24,
        lambda bench: bench.schedules("naive-pim", "pas", "gpt2-2.5b"),
        note="the paper does not say over what; " + _PIM_ATTENTION,
        figure="13",
    ),
    Claim(
        "C56",
        "the same, mean of all models",
        4,
        1.34,
        lambda bench: bench.schedules("naive-pim", "pas"),
        note="the paper does not say over what; " + _PIM_ATTENTION,
        figure="13",
    ),
    *(
        Claim(
            f"C60-{what}-{count}-{tokens}",
            f"GPT-2 L (256, {tokens}): slower with {count} {what}{'' if count == 1 else ' instead of four'}",
            4,
            "slower" if what == "cores" or tokens > 1 else "as fast",
            lambda bench, what=what, count=count, tokens=tokens: bench.slower(tokens, **{what: count}),  # type: ignore[misc]
            note="the text gives directions alone",
            figure="15",
        )
        for what in ("cores", "chips")
        for count in (2, 1)
        for tokens in (1, 512)
    ),
    _foreign("C01", "mean speed-up over an A100, GPT-2", 6.2, _GPU, "8"),
    _foreign("C02", "mean speed-up over DFX, XL", 3.2, _FPGA, "9"),
    _foreign("C04", "an A100's time, generation over summarization", 0.885, _GPU, "2"),
    _foreign("C05", "FCs' share of an A100's generation, XL", 0.454, _GPU, "2"),
    _foreign("C06", "layer norms' and residuals' share", 0.132, _GPU, "2"),
    _foreign("C07", "self-attention's share", 0.414, _GPU, "2"),
    _foreign("C08", "share of what computes nothing, in self-attention", 0.661, _GPU, "2"),
    _foreign(
        "C24", "error of the paper's simulator against its hardware, below", 0.05, "needs that hardware"
    ),
    _foreign("C27", "mean speed-up over an A100, 2.5B", 4.3, _GPU, "8"),
    _foreign("C30", "an A100, 2.5B, ms a token", 29.9, _GPU, "8"),
    _foreign("C35", "DFX, XL (64, 256), ms a token", 6.9, _FPGA, "9"),
    _foreign("C36", "NPU-MEM over DFX, mean", 0.8, _FPGA, "9"),
    _foreign("C37", "IANUS, two FCs of XL, ms", 215, "the paper does not say of which case", "10"),
    _foreign("C57", "BERT-B over an A100, throughput", 3.1, _GPU, "14"),
    _foreign("C58", "BERT-B over an A100, utilization", 5.2, _GPU, "14"),
    _foreign("C61", "perplexity of GPT-2 on WikiText-2", 30.92, "needs the published weights: `ianus ppl`"),
    _foreign("C62", "6.7B on two devices over an A100", 2.4, _GPU, "17"),
    _foreign("C66", "cost efficiency of two devices over an A100", 3.9, _GPU, "17"),
]
