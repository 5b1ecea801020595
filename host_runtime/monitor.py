"""What the device counts and keeps: cycles, commands, violations, errors."""

from __future__ import annotations

from host_runtime.errors import CheckerViolation
from host_runtime.identity import DeviceInfo
from host_runtime.transport.base import Transport
from pim_model.spec.errors import ErrorSource, Violation
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Event, Reg, command_counter, error_info, event_counter
from pim_model.spec.timing_rules import RULES

__all__ = ["Monitor", "commands_since"]

_COUNTER = 1 << 32


class Monitor:
    """The counting part of the driver; reading it disturbs nothing but takes bus cycles."""

    transport: Transport
    info: DeviceInfo

    def cycles(self) -> int:
        """Controller cycles since power-on."""
        return self._wide(Reg.CYCLES_LOW, Reg.CYCLES_HIGH)

    def _wide(self, low_at: int, high_at: int) -> int:
        """A counter of 64 bits that may move meanwhile."""
        high = self.transport.read_register(high_at)
        while True:
            low = self.transport.read_register(low_at)
            again = self.transport.read_register(high_at)
            if again == high:
                return high << 32 | low
            high = again

    def events(self) -> list[dict[Event, int]]:
        """Events since power-on, for each channel: what became of its cycles and its normal accesses.

        Counters are read one after the other while time goes on.
        """

        def count(channel: int, event: Event) -> int:
            low = event_counter(channel, event)
            return self._wide(low, low + 4)

        return [{event: count(channel, event) for event in Event} for channel in range(self.info.channels)]

    def command_counts(self) -> dict[str, int]:
        """Commands issued since power-on by name, summed over the channels; 32-bit counters, NOP left out."""
        channels = range(self.info.channels)
        return {
            op.name: sum(self.transport.read_register(command_counter(channel, op)) for channel in channels)
            for op in MicroOp
            if op is not MicroOp.NOP
        }

    def violations(self) -> int:
        """Violations that the checker counted since reset; stays at its largest value."""
        return self.transport.read_register(Reg.VIOLATIONS)

    def check_violations(self) -> None:
        """Raise :class:`CheckerViolation` if there was one, naming the first."""
        count = self.violations()
        if count:
            first = self.transport.read_register(error_info(ErrorSource.VIOLATION))
            code, channel, command = first & 0xFF, first >> 8 & 0xFF, first >> 16 & 0xFF
            raise CheckerViolation(count, code, _rule(code), channel, _command(command))

    def errors(self) -> dict[ErrorSource, int]:
        """The sources whose sticky bit is set, with what the device keeps of each one's first error."""
        bits = self.transport.read_register(Reg.ERRORS)
        return {
            source: self.transport.read_register(error_info(source))
            for source in ErrorSource
            if bits >> source & 1
        }

    def clear_errors(self) -> None:
        """Clear all sticky bits; the next error of each source is its first again."""
        self.transport.write_register(Reg.ERRORS, 0xFFFFFFFF)


def commands_since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Commands between two counts, those that did not occur left out; right across one wrap of a 32-bit counter."""
    counts = {name: (after[name] - before[name]) % _COUNTER for name in after}
    return {name: count for name, count in counts.items() if count}


def _rule(code: int) -> str:
    if code < len(RULES):
        return RULES[code].name
    return Violation(code).name if code in set(Violation) else "an unknown rule"


def _command(code: int) -> str:
    return MicroOp(code).name if code in set(MicroOp) else f"command {code}"
