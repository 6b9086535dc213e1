"""The Python client of the public API (`client.Client`) and the command line (`cli`)."""
