"""The activation buffer: lines from any word on, beside the host's words, against an array of bytes."""

import random

import pytest

from hdl.pcu.buffer import ActivationBuffer
from pim_model.spec.config import Config
from pim_model.spec.geometry import Geometry

from .simulate import run

WORD = 32


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_lines_and_words(channels, seed):
    geometry = Geometry(channels=channels, banks=4, rows=16, row_bytes=64)
    dut = ActivationBuffer(Config(name="small", geometry=geometry, buffer_bytes=1024))
    rng = random.Random(f"{seed}/{channels}")
    size, line = 1024, WORD * channels
    golden = bytearray(size)

    def put(address, data, mask):
        for i in range(len(data)):
            if mask >> i & 1:
                golden[(WORD * address + i) % size] = data[i]

    async def testbench(ctx):
        for _ in range(120):
            ours, hosts = rng.randrange(32), rng.randrange(32)
            data, mask = rng.randbytes(line), rng.getrandbits(line)
            word, enables = rng.randbytes(WORD), rng.getrandbits(WORD)
            by_pcu, by_host = rng.random() < 0.5, rng.random() < 0.5
            for name, value in (
                ("pcu_write", by_pcu),
                ("pcu_write_address", ours),
                ("pcu_write_data", int.from_bytes(data, "little")),
                ("pcu_write_mask", mask),
                ("host_write", by_host),
                ("host_address", hosts),
                ("host_write_data", int.from_bytes(word, "little")),
                ("host_write_mask", enables),
            ):
                ctx.set(getattr(dut, name), value)
            assert ctx.get(dut.host_write_ready) == (not by_pcu)
            await ctx.tick()
            if by_pcu:
                put(ours, data, mask)
            elif by_host:
                put(hosts, word, enables)
            ctx.set(dut.pcu_write, 0)
            ctx.set(dut.host_write, 0)
            place = rng.randrange(32)
            ctx.set(dut.pcu_address, place)
            for strobe in (dut.pcu_read, dut.host_read):
                ctx.set(strobe, 1)
            await ctx.tick()
            for strobe in (dut.pcu_read, dut.host_read):
                ctx.set(strobe, 0)
            ctx.set(dut.pcu_address, rng.randrange(32))
            ctx.set(dut.host_address, rng.randrange(32))
            await ctx.delay(0)
            shown = ctx.get(dut.pcu_data).to_bytes(line, "little")
            assert shown == bytes(golden[(WORD * place + i) % size] for i in range(line))
            assert (
                ctx.get(dut.host_data).to_bytes(WORD, "little") == golden[WORD * hosts : WORD * (hosts + 1)]
            )

    run(dut, testbench)
