"""The share of a character's own dialogues that is flagged harmful, under all prompt sets."""
