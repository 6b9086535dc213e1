"""`python -m gateway.keys create OWNER [--scope SCOPE ...]`: make an API key and print it, once."""

from __future__ import annotations

import argparse

from gateway.settings import Settings
from rolekeeper.contracts.release import Scope
from rolekeeper.jobs import keys
from rolekeeper.jobs.db import Database


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="API keys of the gateway.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it; it can't be shown again")
    create.add_argument("owner", help="whose characters and jobs the key may see")
    create.add_argument(
        "--scope",
        action="append",
        choices=[scope.value for scope in Scope],
        help="what the key may do; may be given several times; jobs:write if left out",
    )
    given = parser.parse_args(arguments)
    scopes = [Scope(scope) for scope in given.scope or [Scope.WRITE_JOBS]]
    database = Database(Settings().database_url, pool_size=1)
    try:
        with database.transaction() as session:
            key = keys.create_key(session, given.owner, scopes)
    finally:
        database.dispose()
    print(key)


if __name__ == "__main__":
    main()
