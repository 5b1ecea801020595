"""A host of its own process: `python -m tests.agree.host_process SOCKET PRODUCTS SEED`; 0 products means for ever.

Says what it found the device doing, then ``right`` for each product; the exit code is 0 if all were.
"""

from __future__ import annotations

import signal
import socket
import sys

import numpy as np

from host_runtime.driver import Driver
from host_runtime.ops import Pim
from host_runtime.reference import golden_linear
from host_runtime.transport.card_socket import CardSocket
from host_runtime.transport.xdma import XdmaTransport
from pim_model.spec.config import config
from pim_model.spec.registers import Reg, StatusBit

TINY = config("tiny")


class Narrow(CardSocket):
    """A socket that takes a page at a time, so that a transfer is under way for a while."""

    def open(self, path: str, flags: int) -> int:
        descriptor = super().open(path, flags)
        self._open[descriptor].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return descriptor


def main(path: str, products: int, seed: int) -> int:
    rng = np.random.default_rng(seed)
    with XdmaTransport(path, Narrow(path)) as transport:
        found = StatusBit(transport.read_register(Reg.STATUS))
        print("found", found.name or "nothing", flush=True)
        driver = Driver(transport, TINY)
        done = 0
        while done < products or not products:
            rows, columns = int(rng.integers(40, 90)), int(rng.integers(200, 300))
            weights = (rng.standard_normal((rows, columns), np.float32).view(np.uint32) >> 16).astype(
                np.uint16
            )
            x = (rng.standard_normal((3, columns), np.float32).view(np.uint32) >> 16).astype(np.uint16)
            pim = Pim(driver, TINY, preload=False)
            y = pim.linear(pim.upload(weights), x)
            if not np.array_equal(y, golden_linear("aligned", weights, x)) or driver.violations():
                print("wrong", flush=True)
                return 1
            print("right", flush=True)
            done += 1
    return 0


if __name__ == "__main__":
    # A shell starts what runs in its background with SIGINT ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
