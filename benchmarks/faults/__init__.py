"""Faults against the whole stack while clients use it, and what must hold afterwards."""
