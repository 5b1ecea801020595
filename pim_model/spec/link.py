"""The host link over a serial line: frames of bytes, 8N1. The host asks, the device answers, one frame at a time.

Request: ``START | sequence | kind | length | address (4, least significant first) | payload | CRC (4, likewise)``.
Answer: ``START | sequence | status | length | payload | CRC``. The CRC (CRC-32, as in Ethernet and zlib) covers what
lies between START and itself. A request with a wrong CRC, or with a gap of :data:`GAP_CYCLES` in it, gets no answer:
the host asks again under the same sequence number. Reads are done again, since they have no side effects; of writes
the device remembers the last number, and answers a repetition without doing it again. HELLO makes it forget that
number. Bytes that come while a request is carried out are dropped.

D: all of it.
"""

from __future__ import annotations

from enum import IntEnum

START = 0xA5
"""First byte of each frame."""

HEADER_BYTES = 7
"""Of a request, after START."""

ANSWER_BYTES = 3
"""Header of an answer, after START."""

CRC_BYTES = 4

MOST_BYTES = 128
"""Longest payload; with the offset of its first byte in 32 it must not reach beyond this either."""

GAP_CYCLES = 1 << 18
"""Cycles without a byte inside a request after which the device drops it: 26 ms at 10 MHz; USB adapters pause less."""

MOST_WAIT = (1 << 16) - 1
"""Longest wait of one request, in cycles."""


class Kind(IntEnum):
    """What a request asks for."""

    HELLO = 0
    """Forget the number of the last write; no payload either way."""
    READ_REGISTER = 1
    """``address`` is the offset; four bytes come back."""
    WRITE_REGISTER = 2
    """Four bytes of payload."""
    READ_MEMORY = 3
    """``length`` bytes from ``address`` on in the data window come back; no payload in the request."""
    WRITE_MEMORY = 4
    """``length`` bytes of payload to ``address``."""
    WAIT = 5
    """Until the interrupt line is high, or for ``address`` cycles; one byte comes back, whether it is high."""


class LinkStatus(IntEnum):
    """Of an answer. An access that the device's bus refuses has the values of AXI's RESP."""

    OK = 0
    REFUSED = 2
    NOWHERE = 3
    MALFORMED = 4
    """An unknown kind or an impossible length; nothing was done."""
