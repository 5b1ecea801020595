"""One program, every transport: the same bits, registers and errors."""
