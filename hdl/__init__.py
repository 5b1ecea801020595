"""Register-transfer level of the PIM control unit, the memory controllers and the host side, in Amaranth."""
