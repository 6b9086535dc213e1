"""The embedded stack: real PostgreSQL, real Redis and all five processes on one machine, from one command."""
