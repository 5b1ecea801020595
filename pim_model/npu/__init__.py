"""The NPU of the prototype: command scheduler, units and their times, and the closed form of PIM time."""
