"""`python -m benchmarks.reproduce.child`: the cells of a chain in a process of its own, of low priority, one thread."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.reproduce.cells import Cell, Chain
from benchmarks.reproduce.plan import load_plan
from benchmarks.reproduce.work import Keys, Place, run_chain
from rolekeeper.errors import RolekeeperError
from rolekeeper.logs import configure_logging
from services.trainer.program.run import make_deterministic

NICENESS = 10


def main() -> int:
    """Run the order that the first argument is. Returns the exit code; why it is 1 is the last line of stderr."""
    os.nice(NICENESS)
    configure_logging("benchmarks.reproduce", "WARNING")
    make_deterministic(1)
    order = json.loads(sys.argv[1])
    try:
        chain = Chain(tuple(Cell(*each) for each in order["cells"]))
        run_chain(
            load_plan(Path(order["plan"]), order["base_model"]), chain, _place(order["place"]), Keys(*order["keys"])
        )
    except RolekeeperError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def order_of(plan: Path, base_model: str, chain: Chain, place: Place, keys: Keys) -> str:
    """The argument that makes a child run a chain."""
    paths = {name: None if path is None else str(path) for name, path in place._asdict().items()}
    return json.dumps({"plan": str(plan), "base_model": base_model, "cells": chain.cells, "place": paths, "keys": keys})


def _place(paths: dict[str, str | None]) -> Place:
    data, state, out, models = (Path(paths[name] or "") for name in Place._fields)
    return Place(data, state, out, models if paths["models"] else None)


if __name__ == "__main__":
    sys.exit(main())
