"""`python -m gateway.audit`: verify that nobody changed the audit log."""

from __future__ import annotations

import argparse
import sys

from gateway.settings import Settings
from rolekeeper.jobs.chain import BrokenChain, Head, verify
from rolekeeper.jobs.db import Database


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    noted = _parse(arguments).head
    database = Database(Settings().database_url, pool_size=1)
    try:
        with database.transaction() as session:
            head = verify(session, noted)
    except BrokenChain as error:
        print(error.message, file=sys.stderr)
        return 1
    finally:
        database.dispose()
    if not head.entry:
        print("the log is empty")
        return 0
    print(f"{head.entry} entries, none changed; note the head where this database's operators can't reach it:")
    print(f"{head.entry}:{head.sha256}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.audit", description=__doc__)
    parser.add_argument("--head", type=_read_head, help="a head noted before, which must still be in the log")
    return parser.parse_args(arguments)


def _read_head(text: str) -> Head:
    entry, _, sha256 = text.partition(":")
    if not entry.isascii() or not entry.isdecimal() or len(sha256) != 64:
        raise argparse.ArgumentTypeError("a head is ENTRY:SHA256, as this command prints it")
    return Head(int(entry), sha256)


if __name__ == "__main__":
    raise SystemExit(main())
