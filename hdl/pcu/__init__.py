"""The PIM control unit: takes macros, unrolls them for the controllers, collects results, completes."""
