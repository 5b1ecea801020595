"""The cocotb tests, one module for each thing that is shown; they run inside the simulator."""
