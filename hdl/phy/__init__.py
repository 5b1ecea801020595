"""The boundary between a PIM memory controller and the device's physical layer."""
