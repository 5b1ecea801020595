"""The order in which a MATVEC works: which two results a PU sums up side by side, one in each accumulator set.

A *pass* brings one or two results of each PU, each for a (token, group). Two save what both need once:

* a *pair of tokens*: each weight row is opened once for both, and the buffer is loaded with each token's part in turn;
* a *pair of groups*: each part of the input is loaded once for the rows of both, and of two activations that need no
  register mode in between, the table row is opened once. The groups of a QKV are those of its three matrices, one after
  the other, so a pair may be the last group of one and the first of the next.

Where a group is a single weight row, all tokens can go through it before the next group: the row *stays* open from one
pass to the next, and only a refresh that has come due closes it in between.

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
    stays: Any = 0
    """All tokens of a group go before the next group, through a row that stays open; ``groups`` is 0 then."""


def best_order(direct: bool, groups: Any, tiles: Any, activate: Any) -> Order:
    """The order of the fewest cycles: by register access, groups of a token, tiles of a group, and whether there is an
    activation.

    ``groups``, ``tiles`` and ``activate`` are numbers, or signals of an RTL, and so are the parts of the answer.
    """
    if direct:
        # Loads hide beside the MACs: what costs time is opening rows, of weights and of activation tables.
        # Of several tiles each pass needs each row anew, and an activation closes the weight row for its table.
        return Order(tokens=1, groups=activate, stays=(tiles == 1) & (activate == 0))
    # Loads, biases and results cost visits to register mode. A pair of tokens saves none, but where no groups make
    # pairs it still has its biases written and its results read together. With an activation not even that: AF has one
    # result register, which a visit of its own empties.
    return Order(tokens=(groups == 1) & (activate == 0), groups=1)
