"""Measurements, apart from the commands that print them."""
