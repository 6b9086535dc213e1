"""Suites: where their files are, what is in them, and a fair part of them. `starter.jsonl` is told of in SUITE.md."""
