"""Answers to many prompts at once: rows in an in-place cache, what has ended retired, what waits let in."""
