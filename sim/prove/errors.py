"""What ends a proof without a verdict."""

from __future__ import annotations

__all__ = ["ProofToolError", "ProofsUnavailable"]


class ProofsUnavailable(Exception):
    """A tool of the ``prove`` extra is not installed."""


class ProofToolError(Exception):
    """A tool failed, or what it wrote is not what the harness says."""
