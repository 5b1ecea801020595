"""What the host sees: AXI4-Lite registers, the AXI4 data window, the interrupt."""
