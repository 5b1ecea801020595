"""The XDMA transport on the RTL's AXI buses under cocotbext-axi, with back-pressure, through a local socket."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import AccessError
from host_runtime.ops import Pim
from host_runtime.reference import golden_linear
from host_runtime.transport.card_socket import CardSocket
from host_runtime.transport.xdma import XdmaTransport
from pim_model.spec.config import config
from pim_model.spec.registers import Reg
from sim.bench.designs import Design
from sim.bench.runner import Result, run
from sim.card import NODES

pytestmark = pytest.mark.cosim

TINY = config("tiny")
HOSTS = 2


@contextmanager
def simulated(seed: int) -> Iterator[tuple[Path, Future[Result]]]:
    """A socket for so many hosts, and the bench's result, which comes after the last one."""
    with tempfile.TemporaryDirectory(prefix="ianus-") as folder, ThreadPoolExecutor(1) as pool:
        path = Path(folder) / "card"
        settings = {"IANUS_BENCH_SOCKET": str(path), "IANUS_BENCH_HANG_UPS": str(HOSTS * len(NODES))}
        bench = pool.submit(
            run, Design("top", TINY), "top_card", "serve", seed=seed, trace_failure=False, settings=settings
        )
        try:
            while not path.exists() and not bench.done():
                time.sleep(0.05)
            yield path, bench
        finally:
            while not bench.done():  # a host that failed has not hung up often enough
                with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nobody:
                    nobody.connect(str(path))
                time.sleep(0.05)


def bits(rng: np.random.Generator, *shape: int):
    return (rng.standard_normal(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def test_hosts_on_the_axi_buses(seed: int, rng: np.random.Generator) -> None:
    weights, x, bias = bits(rng, 20, 150), bits(rng, 2, 150), bits(rng, 20)
    with simulated(seed) as (path, bench):
        for host in range(HOSTS):
            with XdmaTransport(str(path), CardSocket(str(path))) as transport:
                data = rng.bytes(777)
                transport.write_memory(TINY.buffer_base + 8000 + host, data)
                assert transport.read_memory(TINY.buffer_base + 8000 + host, 777) == data
                driver = Driver(transport, TINY)
                pim = Pim(driver, TINY, preload=False)
                matrix = pim.upload(weights, bias)
                np.testing.assert_array_equal(
                    pim.linear(matrix, x), golden_linear("aligned", weights, x, bias)
                )
                assert driver.errors() == {}
                for beyond in (TINY.buffer_base + TINY.buffer_bytes, 2 * TINY.buffer_base):
                    with pytest.raises(AccessError):
                        transport._transfer("c2h_0", beyond, 32)
                assert transport._load(0x38) == 0xFFFFFFFF
                driver.soft_reset()
                assert transport.read_register(Reg.VIOLATIONS) == 0
                assert transport.missed == 0
        assert bench.result(timeout=300).passed
