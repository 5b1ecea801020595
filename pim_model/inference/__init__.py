"""Whole inferences on the modelled machines: latency token by token, where time and energy go."""
