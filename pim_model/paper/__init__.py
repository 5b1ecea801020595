"""The paper's claims, recomputed: what holds, how far off, and what cannot be checked."""
