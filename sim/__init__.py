"""Turns hdl into running simulations."""
