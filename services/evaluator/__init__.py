"""The evaluator: prompts and an adapter in, verdicts out. It keeps no state but what it can compute again."""
