"""What the commands of a bus did, remembered: ages since the last of each kind, for the timing claims.

A bank chosen by the solver stands for all banks.
"""

from amaranth import Module, Mux, Signal

from pim_model.spec.config import Config
from pim_model.spec.micro import ALL_BANKS, ONE_BANK, MicroOp, Mode
from pim_model.spec.timing_rules import Scope

__all__ = ["Ages"]


class Ages:
    """Counts cycles since the last command of each kind, on the chosen bank, its group, or the channel.

    The age of a command is one in the next cycle; where none came yet, or long ago, it is :attr:`old`.
    """

    def __init__(self, m: Module, config: Config, old: int, *, op0, bank0, mode0, op1, chosen):
        self._m, self.old = m, old
        geometry = config.geometry
        self._op0, self._op1 = op0, op1
        bank = bank0[: geometry.bank_bits]
        shift = geometry.banks_per_group.bit_length() - 1
        self._at_bank, self._at_group, beside = (
            Signal(name=f"ghost_{n}") for n in ("bank", "group", "beside")
        )
        m.d.comb += [
            self._at_bank.eq(bank == chosen),
            self._at_group.eq(bank[shift:] == chosen[shift:]),
            beside.eq((bank ^ 1) == chosen),
        ]
        self._beside = beside & ((mode0 & Mode.LOCAL) != 0)
        self._ages: dict[tuple[MicroOp, Scope], Signal] = {}

    def __getitem__(self, key: tuple[MicroOp, Scope]) -> Signal:
        """Age of the last ``op`` that touched the chosen instance of the scope."""
        op, scope = key
        if op not in ONE_BANK:
            scope = Scope.CHANNEL  # touches every bank, or none
        if (op, scope) not in self._ages:
            self._ages[op, scope] = self._age(op, scope)
        return self._ages[op, scope]

    def _age(self, op: MicroOp, scope: Scope) -> Signal:
        here = self._op0 == op
        if scope is Scope.CHANNEL:
            here |= self._op1 == op
        elif scope is Scope.GROUP:
            here &= self._at_group
        else:
            touches = self._at_bank | self._beside if op is MicroOp.MACSB else self._at_bank
            here &= touches
        age = Signal(range(self.old + 1), init=self.old, name=f"age_{scope.name.lower()}_{op.name.lower()}")
        self._m.d.sync += age.eq(Mux(here, 1, Mux(age >= self.old, self.old, age + 1)))
        return age

    @staticmethod
    def known(op: MicroOp, scope: Scope) -> bool:
        """Whether a command touches instances of the scope at all."""
        return scope is Scope.CHANNEL or op in ONE_BANK or op in ALL_BANKS
