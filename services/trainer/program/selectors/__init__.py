"""Choosing samples by gradients, before the first step: the scorer runs the model forward only."""
