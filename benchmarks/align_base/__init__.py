"""A seeded recipe that gives the small base model a habit of refusing harmful requests."""
