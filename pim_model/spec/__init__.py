"""What every part of the project agrees on, as data: geometry, commands, timing, registers, error codes.

Golden model and RTL share these numbers and nothing else; see ``README.md`` of ``pim_model``.
"""
