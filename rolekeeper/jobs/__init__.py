"""What a job is. The only code that knows Postgres: rows are the truth, messages are hints."""
