"""One character trained by every method."""
