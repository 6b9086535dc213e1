"""Where bytes live: immutable, addressed by sha256."""
