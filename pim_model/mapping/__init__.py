"""How work and weights are laid onto the device."""
