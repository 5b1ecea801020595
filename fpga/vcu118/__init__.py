"""The prototype on AMD's VCU118 evaluation board: a plan that Vivado builds, and what it takes of the device."""
