"""Proofs of the RTL: harnesses in Amaranth, models by Yosys, induction by z3."""
