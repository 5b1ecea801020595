"""Golden model of the PIM memory and of the NPU: the truth the other packages are held to."""
