"""NPU programs executed: macros and transfers on a device through the driver, the rest on numpy."""
