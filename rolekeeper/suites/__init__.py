"""Prompt suites: which public ones there are, and how a file of prompts is read."""
