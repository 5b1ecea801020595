"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from host_runtime.transport import DEVICES, TRANSPORTS
from pim_model.numerics.activation import FUNCTIONS
from pim_model.numerics.profiles import PROFILES
from pim_model.spec.config import CONFIGS
from pim_model.spec.timing import TIMINGS

__all__ = [
    "activation_option",
    "backend_option",
    "config_option",
    "device_option",
    "device_options",
    "json_option",
    "numerics_option",
    "require_simulation",
    "timing_option",
]

F = TypeVar("F", bound=Callable[..., Any])


def _option(*names: str, **settings: Any) -> Callable[[F], F]:
    settings.setdefault("show_default", True)
    return click.option(*names, **settings)


config_option = _option(
    "--config",
    "config_name",
    type=click.Choice(list(CONFIGS)),
    default="ianus",
    help="shape of the device",
)
timing_option = _option(
    "--timing",
    "timing_name",
    type=click.Choice(TIMINGS),
    default=TIMINGS[0],
    help="timing preset (`ianus info` gives the values and their sources)",
)
numerics_option = _option(
    "--numerics",
    type=click.Choice(list(PROFILES)),
    default="aligned",
    help="arithmetic of the processing units",
)
backend_option = _option(
    "--backend",
    type=click.Choice(TRANSPORTS),
    default="model",
    help="where the products are computed: golden model, or Verilated RTL (built at the first use)",
)
device_option = _option(
    "--device",
    type=click.Choice(DEVICES),
    default="cpp",
    help="what stands behind the controllers on Verilated RTL: C++ model of AiM, or synthesisable AiM, which the C++ "
    "model then checks word by word (`aligned` only; memory of 64 MiB at most, as in --config small)",
)
activation_option = _option(
    "--activation",
    type=click.Choice(list(FUNCTIONS)),
    default=None,
    show_default=False,
    help="activation function, computed in memory by the table in a reserved row (largest error 0.008)",
)
json_option = _option(
    "--json",
    "json_path",
    metavar="FILE|-",
    type=click.Path(dir_okay=False, allow_dash=True),
    show_default=False,
    help="write the result as JSON; with `-` to standard output, everything else to standard error",
)


def require_simulation(backend: str, device: str) -> None:
    """Refuse a ``--device`` that the backend would ignore."""
    if device != DEVICES[0] and backend != "verilator":
        raise click.UsageError(f"--device {device} needs --backend verilator, not {backend}")


def device_options(function: F) -> F:
    """``--config``, ``--timing`` and ``--numerics``."""
    return config_option(timing_option(numerics_option(function)))
