"""The PU's arithmetic, bit for bit: BF16, MAC profiles, activation tables, fast kernels."""
