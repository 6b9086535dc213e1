"""Rolekeeper: fine-tune role-play characters without losing the base model's safety."""

__version__ = "0.1.0"
