"""Safety anchors: a few short prompts, and what the base model itself answers to them."""
