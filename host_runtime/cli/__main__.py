"""`python -m host_runtime.cli` where the command `ianus` is not installed."""

from __future__ import annotations

from host_runtime.cli import main

main()
