"""Alembic migrations: the only way that the schema changes."""
