"""`python -m gateway.keys create OWNER`: make an API key and print it, once."""

from __future__ import annotations

import argparse

from gateway.settings import Settings
from rolekeeper.jobs import service
from rolekeeper.jobs.db import Database


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="API keys of the gateway.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it; it can't be shown again")
    create.add_argument("owner", help="whose characters and jobs the key may see")
    owner = parser.parse_args(arguments).owner
    database = Database(Settings().database_url, pool_size=1)
    try:
        with database.transaction() as session:
            key = service.create_key(session, owner)
    finally:
        database.dispose()
    print(key)


if __name__ == "__main__":
    main()
