"""The order in which a MATVEC works: which two results a PU sums up side by side, one in each accumulator set.

A *pass* brings one or two results of each PU, each for a (token, group). Two save what both need once:

* a *pair of tokens*: each weight row is opened once for both, and the buffer is loaded with each token's part in turn;
* a *pair of groups*: each part of the input is loaded once for the rows of both, and of two activations that need no
  register mode in between, the table row is opened once. The groups of a QKV are those of its three matrices, one after
  the other, so a pair may be the last group of one and the first of the next.

The rule below is what the golden schedule finds shortest in every preset (``tests/pim_model/test_order.py``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Order", "best_order"]


class Order(NamedTuple):
    """What makes up a pass. A last token or group without a partner is a pass of its own."""

    tokens: Any
    """Tokens go in pairs."""
    groups: Any
    """Groups of a token without a partner go in pairs."""


def best_order(direct: bool, groups: Any, activate: Any) -> Order:
    """The order of the fewest cycles: by register access, groups of a token, and whether there is an activation.

    ``groups`` and ``activate`` are numbers, or signals of an RTL, and so are the parts of the answer.
    """
    if direct:
        # Loads hide beside the MACs: what costs time is opening rows, of weights and of activation tables.
        return Order(tokens=1, groups=activate)
    # Loads, biases and results cost visits to register mode. A pair of tokens saves none, but where no groups make
    # pairs it still has its biases written and its results read together. With an activation not even that: AF has one
    # result register, which a visit of its own empties.
    return Order(tokens=(groups == 1) & (activate == 0), groups=1)
