"""The release gate: what a report's numbers say about giving the adapter out. Pure."""
