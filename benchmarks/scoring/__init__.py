"""Scoring of samples under three contexts, against other ways to compute the same numbers."""
