"""Each outcome that the driver documents, at each call of a run: the right product or an error, nothing left behind.

After it the same program goes on by a soft reset, if the fault is one that a soft reset mends, and another process gets
the card.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import IanusError, LinkDown
from host_runtime.ops import Pim
from host_runtime.transport.model import ModelTransport
from host_runtime.transport.xdma import XdmaTransport
from pim_model.spec.config import config
from tests.agree.fake_xdma import PATH, Call, FakeXdma, Outcome

TINY = config("tiny")
ROWS, COLUMNS = 3, 20
WEIGHTS = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 9 - 4).astype(np.float32)
X = (np.arange(COLUMNS).reshape(1, COLUMNS) % 7 - 3).astype(np.float32)
RESTART = 512


def failing(*numbers: int, **settings: int | bool) -> list[Outcome]:
    return [Outcome(number, **settings) for number in numbers]  # type: ignore[arg-type]


GONE = failing(errno.ENODEV, errno.ENXIO)
DMA = [
    *failing(
        errno.EIO, errno.EBUSY, errno.EINVAL, errno.EFAULT, errno.ENOMEM, errno.EINTR, errno.EAGAIN, RESTART
    ),
    *failing(errno.EIO, errno.EINTR, RESTART, moves=17),
    *failing(errno.ETIMEDOUT, moves=5, wedges=1),
    *failing(errno.ETIMEDOUT, wedges=2),
    *[Outcome(moves=moves) for moves in (0, 1, 32)],
    *[Outcome(moves=moves, wedges=1) for moves in (0, 1, 4)],
    Outcome(moves=1, wedges=2),
    *GONE,
    Outcome(dies=True),
]
REGISTER = [
    *failing(errno.EINVAL, errno.EPROTO, errno.EIO, errno.EINTR),
    *GONE,
    *[Outcome(moves=moves) for moves in (0, 1, 3)],
    Outcome(dies=True),
]
OUTCOMES: dict[tuple[str, str], list[Outcome]] = {
    **{
        ("open", node): failing(
            errno.ENOENT, errno.EACCES, errno.EBUSY, errno.EMFILE, errno.ENODEV, errno.EINTR
        )
        for node in ("user", "h2c_0", "c2h_0", "events_0")
    },
    **{("close", node): failing(errno.EIO, errno.EINTR) for node in ("user", "h2c_0", "c2h_0", "events_0")},
    ("flock", "user"): failing(errno.EWOULDBLOCK, errno.ENOLCK, errno.EINTR),
    ("pread", "user"): REGISTER,
    ("pwrite", "user"): REGISTER,
    ("pread", "c2h_0"): DMA,
    ("pwrite", "h2c_0"): DMA,
    ("pread", "events_0"): [
        *failing(errno.EPROTO, errno.EAGAIN, errno.EINVAL, errno.EIO),
        *GONE,
        Outcome(moves=0),
    ],
    ("poll", "events_0"): [
        *failing(errno.EINTR, errno.ENOMEM, errno.EINVAL),
        Outcome(loses=True),
        Outcome(dies=True),
    ],
}


def multiply(driver: Driver) -> None:
    """Operands in, product, results out; never a wrong one."""
    pim = Pim(driver, TINY)
    found = pim.linear(pim.upload(WEIGHTS), (X.view(np.uint32) >> 16).astype(np.uint16))
    np.testing.assert_array_equal((found.astype(np.uint32) << 16).view(np.float32), X @ WEIGHTS.T)


@cache
def calls() -> list[Call]:
    """All calls of a run in which nothing fails."""
    card = FakeXdma(ModelTransport(TINY))
    with XdmaTransport(PATH, card) as transport:
        multiply(Driver(transport, TINY))
    assert card.opened == {}
    return card.calls


def hurt(at: int, outcome: Outcome) -> str:
    """One run with that outcome of call ``at``: what became of it."""
    card = FakeXdma(ModelTransport(TINY), lambda number, _call: outcome if number == at else None)
    other = card.beside()
    name, message = "right", PATH
    try:
        with XdmaTransport(PATH, card) as transport:
            driver = None
            try:
                driver = Driver(transport, TINY)
                multiply(driver)
            except LinkDown:
                assert outcome.dies or outcome.error in (errno.ENODEV, errno.ENXIO)
                name = "link down"
            except IanusError as error:
                message = str(error)
                name = type(error).__name__
                if driver is not None and outcome.wedges < 2:
                    driver.soft_reset()
                    multiply(driver)
    except IanusError as error:  # it could not be opened
        message = str(error)
        name = f"not opened: {type(error).__name__}"
    assert message.startswith(PATH)
    assert "\n" not in message
    assert card.opened == {}, "descriptors were left open"
    assert len(card.calls) > at, "the call was not reached"
    if not card.dead and outcome.wedges < 2:
        with XdmaTransport(PATH, other) as transport:
            multiply(Driver(transport, TINY))
    return name


def places() -> list[tuple[str, str]]:
    return sorted({(call.name, call.node) for call in calls()})


def test_every_kind_of_call_has_outcomes() -> None:
    assert set(places()) == set(OUTCOMES)


@pytest.mark.parametrize("place", list(OUTCOMES), ids="-".join)
def test_every_outcome_at_every_call(place: tuple[str, str]) -> None:
    sites = [number for number, call in enumerate(calls()) if (call.name, call.node) == place]
    became: Counter[str] = Counter()
    for at in sites:
        for number, outcome in enumerate(OUTCOMES[place]):
            try:
                became[hurt(at, outcome)] += 1
            except BaseException as error:
                error.add_note(f"call {at}, {calls()[at]}, outcome {number}: {outcome}")
                raise
    assert became.total() == len(sites) * len(OUTCOMES[place]) > 0
    print(dict(became))
    if place[0] == "close":
        assert set(became) == {"right"}
    elif place in (("open", "events_0"), ("pread", "events_0")):
        assert set(became) == {"right"}, "interrupts are a convenience"
    elif place[1] in ("h2c_0", "c2h_0") and place[0] != "open":
        assert became["right"] == len(sites) * 8, "EINTR and its like, and a short count, are gone on with"
        assert became["link down"] == len(sites) * 3
    elif place[1] == "user" and place[0].startswith("p"):
        assert became["link down"] + became["not opened: LinkDown"] == len(sites) * 3
        assert became["right"] == 0
    else:
        assert set(became) != {"right"}


def broken(seed: int) -> Callable[[int, Call], Outcome | None]:
    """Something fails every now and then."""
    random = np.random.default_rng(seed)

    def plan(_number: int, call: Call) -> Outcome | None:
        possible = [o for o in OUTCOMES.get((call.name, call.node), ()) if not o.dies and o.wedges < 2]
        if not possible or random.random() > 0.02:
            return None
        return possible[int(random.integers(len(possible)))]

    return plan


@pytest.mark.parametrize("number", range(10))
def test_a_program_that_resets_and_tries_again(number: int, seed: int) -> None:
    """Faults over faults, in resets too: what it gets is right, or nothing."""
    card = FakeXdma(ModelTransport(TINY), broken(100 * seed + number))
    products = faults = 0
    for _ in range(30):
        try:
            with XdmaTransport(PATH, card) as transport:
                driver = Driver(transport, TINY)
                while products < 30:
                    try:
                        multiply(driver)
                        products += 1
                    except IanusError:
                        faults += 1
                        driver.soft_reset()
        except IanusError:
            faults += 1
        assert card.opened == {}
    assert products == 30
    assert faults > 3
