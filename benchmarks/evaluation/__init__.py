"""Answers for the safety report, against transformers' `generate` and `pipeline`."""
