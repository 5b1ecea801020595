"""cocotb benches: random traffic against single units and the whole prototype, with the golden model as reference."""
