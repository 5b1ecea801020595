"""Every timing rule that the gates of a controller enforce: no command is let go too early after any other.

The real gates (``hdl/controller/bank.py``, ``channel.py``) hear any commands at all, legal or not. For each rule and
each pair of commands that it binds, the gates of the second are closed until the rule's distance has passed. The proof
links each age, which counts up, to the countdowns of the gates: together they are never less than the distance.

Rules of scope COLUMN are not here (``hdl/controller/registers.py``); commands of one cycle: ``scheduler.py``.
"""

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, Signal

from hdl.controller.bank import BankState
from hdl.controller.channel import COLUMN_OF_ONE_BANK, ISSUED, ChannelGates
from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.micro import ONE_BANK, REGISTER_OPS, MicroOp
from pim_model.spec.timing_rules import Scope

from .commands import Ages
from .harness import Claim, Harness, signals_of

__all__ = ["Edge", "TimingHarness", "edges", "issued"]

Edge = tuple[str, Scope, MicroOp, MicroOp, int]
"""Rule, scope, before, after, distance in cycles."""


def issued(config: Config) -> tuple[MicroOp, ...]:
    """The commands of this configuration's controllers."""
    more = (MicroOp.REFPB,) if config.refresh is RefreshPolicy.PER_BANK else ()
    return (*ISSUED, *more, *((MicroOp.PREP,) if config.dual_row_buffer else ()))


def edges(config: Config) -> list[Edge]:
    """The pairs of commands that the gates have to keep apart: by more than a cycle, and not by column."""
    ops = issued(config)
    found: dict[tuple[str, MicroOp, MicroOp], Edge] = {}
    for timed in config.timing.rules:
        if timed.rule.scope is Scope.COLUMN or timed.cycles <= 1:
            continue
        for before in ops:
            for after in ops:
                if timed.binds(before, after):
                    edge = (timed.rule.name, timed.rule.scope, before, after, timed.cycles)
                    found[timed.rule.name, before, after] = edge
    return list(found.values())


class TimingHarness(Harness):
    """Bank and channel gates of one controller under free commands.

    Parameters
    ----------
    config : Config
        What the rules are taken from.
    """

    def __init__(self, config: Config):
        super().__init__()
        self._config = config
        self._edges = edges(config)
        self._faw = config.timing.faw_cycles
        self.scripts = [self._script()]

    def _script(self) -> list[dict[str, int]]:
        """Each command alone, and then silence for as long as any rule reaches; five activations at the end."""
        longest = max(distance for *_, distance in self._edges) + 2
        script: list[dict[str, int]] = [{}] * longest
        for op in issued(self._config):
            slot = "op1" if op in REGISTER_OPS else "op0"
            script += [{slot: op}, *([{}] * longest)]
        shift = (self._faw - 5) // 3  # three activations, and the fourth as late as the window allows
        for i in range(4):
            script += [{"op0": MicroOp.ACT, "bank0": i}, *([{}] * max(0, shift))]
        return script + [{}] * self._faw

    def build(self, m: Module) -> None:
        config, ops = self._config, issued(self._config)
        op0, op1, bank0, mode0 = (
            self.free(*port) for port in (("op0", 5), ("op1", 5), ("bank0", 4), ("mode0", 2))
        )
        chosen = self.constant(m, "chosen", config.geometry.bank_bits)
        # Slot 1 takes register commands alone.
        self.assume(m, (op1 == MicroOp.NOP) | op1.matches(*sorted(REGISTER_OPS)))
        banks, channel = BankState(config), ChannelGates(config)
        inside_banks = signals_of(self.place(m, "banks", banks, op=op0, bank=bank0, mode=mode0))
        inside_channel = signals_of(self.place(m, "channel", channel, op0=op0, op1=op1))
        old = max(distance for *_, distance in self._edges) + 1
        ages = Ages(m, config, old, op0=op0, bank0=bank0, mode0=mode0, op1=op1, chosen=chosen)

        geometry = config.geometry
        group = chosen[geometry.banks_per_group.bit_length() - 1 :]

        def side_by_side(op: MicroOp, scope: Scope, name: str, at):
            """The countdown at one place of those that a BankState keeps by bits."""
            bits: list[Signal] = []
            while (bit := inside_banks.get(f"{name}_remaining{len(bits)}")) is not None:
                bits.append(bit)
            if not bits:
                return []
            countdown = Signal(len(bits), name=f"{name}_countdown")
            m.d.comb += countdown.eq(Cat(bit.bit_select(at, 1) for bit in bits))
            longest = max(config.timing.between(before, op, scope) for before in ops if before in ONE_BANK)
            self.invariant(m, f"{name} in range", countdown < longest)
            return [countdown]

        ready, countdowns = {}, {}
        for op in ops:
            name = op.name.lower()
            waits = [inside_channel[f"{name}_remaining"]] if f"{name}_remaining" in inside_channel else []
            allowed = getattr(channel, f"{name}_ready")
            if op in ONE_BANK and op not in COLUMN_OF_ONE_BANK:
                allowed = allowed & getattr(banks, f"{name}_ready").bit_select(chosen, 1)
                waits += side_by_side(op, Scope.BANK, f"{name}_bank", chosen)
                waits += side_by_side(op, Scope.GROUP, f"{name}_group", group)
            ready[op] = Signal(name=f"lets_{name}")
            m.d.comb += ready[op].eq(allowed)
            countdowns[op] = waits

        largest: dict[tuple[MicroOp, MicroOp], int] = {}
        for _, _, before, after, distance in self._edges:
            largest[before, after] = max(distance, largest.get((before, after), 0))
        linked = set()
        for rule, scope, before, after, distance in self._edges:
            age = ages[before, scope]
            self.claim(
                m,
                f"{rule}: {before.name} to {after.name}",
                (age >= distance) | ~ready[after],
                f"{after.name} waits {distance} cycles after {before.name} in the {scope.value} ({rule})",
                rule=rule,
                scope=scope,
                before=before,
                after=after,
                distance=distance,
            )
            if (age.name, after, distance) not in linked:
                linked.add((age.name, after, distance))
                sums = [wait + age >= distance for wait in countdowns[after]]
                self.invariant(
                    m,
                    f"countdown of {after.name} after {age.name} {distance}",
                    (age >= distance) | Cat(sums).any() if sums else age >= distance,
                )
            self.cover(m, f"{rule}: {before.name} to {after.name}, a cycle early", age == distance - 1)
            if distance == largest[before, after]:
                self.cover(
                    m, f"{rule}: {before.name} to {after.name}, on time", (age == distance) & ready[after]
                )
        # A bank's age is its group's age at least, and that the channel's.
        for before in {edge[2] for edge in self._edges} & ONE_BANK:
            narrow = [ages[before, scope] for scope in (Scope.BANK, Scope.GROUP, Scope.CHANNEL)]
            self.invariant(m, f"{before.name} by scope", (narrow[0] >= narrow[1]) & (narrow[1] >= narrow[2]))
        self._four(m, op0, ready[MicroOp.ACT], inside_channel["faw_history"])

    def _four(self, m: Module, op0, ready, history) -> None:
        """tFAW: the ages of the last four activations of the channel."""
        window = self._faw
        ages = [Signal(range(window + 1), init=window, name=f"faw_age{i}") for i in range(4)]
        act = op0 == MicroOp.ACT
        for i, age in enumerate(ages):
            older = Const(0) if i == 0 else ages[i - 1]
            now = Mux(act, older, age)
            m.d.sync += age.eq(Mux(now >= window, window, now + 1))
        self.claim(
            m,
            "tFAW: the fifth ACT",
            (ages[3] >= window) | ~ready,
            f"at most four ACTs in {window} cycles",
            rule="tFAW",
            scope=Scope.CHANNEL,
            before=MicroOp.ACT,
            after=MicroOp.ACT,
            distance=window,
        )
        for i, age in enumerate(ages):
            seen = history.bit_select((age - 1)[: len(age)], 1)
            self.invariant(m, f"history has ACT {i}", (age >= window) | ((age != 0) & seen))
        for i, (newer, older) in enumerate(pairwise(ages)):
            self.invariant(m, f"ACTs {i} and {i + 1} in order", (newer < older) | (older == window))
        self.cover(m, "tFAW: the fifth ACT, a cycle early", ages[3] == window - 1)

    def explain(self, claim: Claim, cycles) -> str:
        facts, last = claim.facts, len(cycles) - 1
        if not facts:
            return super().explain(claim, cycles)
        before, after = facts["before"], facts["after"]
        slots = [(c("op0"), c("op1")) for c in cycles]
        if facts["rule"] == "tFAW":
            acts = [i for i, ops in enumerate(slots) if MicroOp.ACT in ops and i < last]
            began, gone = acts[-4], last - acts[-4]
        else:
            age = f"age_{facts['scope'].name.lower()}_{before.name.lower()}"
            channel = f"age_channel_{before.name.lower()}"
            gone = cycles[last](age if before in ONE_BANK else channel)
            began = last - gone
        bank = cycles[last]("chosen")
        return (
            f"{facts['rule']}: {before.name} to bank {cycles[began]('bank0')} in cycle {began}, and {after.name} to "
            f"bank {bank} is let go in cycle {last}: {gone} cycles, and the rule asks for {facts['distance']}"
        )
