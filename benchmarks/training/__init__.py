"""Training of one character, against TRL's trainer and the released trainer's steps."""
