"""The device files of a simulated card over a local socket: one connection for each file that is open.

Request: ``kind (1) | offset (8) | size (4) | payload``; answer: ``result (4, signed) | size (4) | payload``. Numbers
have their least significant byte first. The result is what the system call returns, or the negative of its error's
number. A connection begins with OPEN. It ends by being closed, which also gives up its lock; of a PWRITE whose payload
breaks off there, what came is written, as a card's engine would have.

D: all of it.
"""

from __future__ import annotations

import struct
from enum import IntEnum

VERSION = 1
"""Of this protocol; the offset of OPEN."""

REQUEST = struct.Struct("<BQI")
ANSWER = struct.Struct("<iI")

MOST_BYTES = 8 << 20
"""Longest payload either way."""


class CardCall(IntEnum):
    """What a request asks for."""

    OPEN = 0
    """The payload is the end of the file's name, such as ``h2c_0``."""
    FLOCK = 1
    """Lock the file for this connection; EWOULDBLOCK while another has it."""
    PREAD = 2
    """``size`` bytes come back, without payload in the request."""
    PWRITE = 3
    """The payload goes to ``offset``."""
    POLL = 4
    """Wait for ``offset`` milliseconds, in the simulation's measure; the result is whether the file can be read."""
