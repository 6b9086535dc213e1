"""The gateway under load, beside a plain FastAPI + SQLAlchemy route in the same run."""
