"""cocotb benches, run by pytest."""
