"""`python -m benchmarks.reproduce`: the study of the paper's question, on characters, seeds and ways to train.

A plan says what is run (benchmarks/reproduce/plan.toml), a stage of it is run with `--stage`, and what is finished is
not run again: one JSON line for each character, seed and arm in docs/results/reproduce-STAGE.jsonl. A line is taken
for done if its settings, the base model and the code are the same. `--data` names the folder with RoleBench, the
profiles and the public suites (docs/reproduce.md says where they are published). Answers stay in `--state`, which git
ignores: `--show CELL` prints twenty of a cell beside the base model's. `--report FILE` makes tables and charts.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks.reproduce.cells import Chain, plan_chains
from benchmarks.reproduce.plan import BASE, PLAN, Loaded, find_stage, load_plan, unavailable
from benchmarks.reproduce.report import write_report
from benchmarks.reproduce.runner import Task, missing_chains, run_all
from benchmarks.reproduce.show import show_cell
from benchmarks.reproduce.version import code_version
from benchmarks.reproduce.work import Keys, Place
from benchmarks.timing import exit_code
from rolekeeper.errors import RolekeeperError
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base
from rolekeeper.lm.memory import release_memory
from rolekeeper.logs import configure_logging

RESULTS = Path("docs/results")


def main() -> int:
    """Run a stage, show a cell or write a report. Returns the exit code."""
    configure_logging("benchmarks.reproduce", "WARNING")
    options = _parse()
    if options.show:
        return exit_code(lambda: print(show_cell(options.show, options.state)))
    if options.report:
        return exit_code(partial(write_report, options.report, load_plan(options.plan).plan, options.judge))
    return exit_code(partial(_run, options))


def _run(options: argparse.Namespace) -> None:
    loaded = load_plan(options.plan)
    stage = find_stage(loaded.plan, options.stage)
    for reason in unavailable(loaded.plan, stage.arms).values():
        print(f"left out: {reason}", file=sys.stderr)
    chains = chosen(plan_chains(loaded.plan, stage), options)
    place = Place(
        options.data, options.state, options.out or RESULTS / f"reproduce-{options.stage}.jsonl", options.models
    )
    task = Task(options.plan, loaded, place, Keys(_base_digest(loaded, place), code_version()))
    missing = missing_chains(task, chains)
    num_cells, num_missing = (sum(len(chain.cells) for chain in each) for each in (chains, missing))
    print(f"plan {loaded.digest}, code {task.keys.version}: {num_missing} of {num_cells} cells to run", file=sys.stderr)
    if options.list:
        print("\n".join(cell.name for chain in missing for cell in chain.cells))
    elif num_failed := run_all(task, missing, options.workers):
        raise RolekeeperError(f"{num_failed} of {len(missing)} children failed; their lines in {place.out} say why")


def chosen(chains: list[Chain], options: argparse.Namespace) -> list[Chain]:
    """The chains of the characters, seeds and arms that were named, or all. The base model is always among them."""
    cells = [
        Chain(
            tuple(
                cell
                for cell in chain.cells
                if cell.character in (options.character or [cell.character])
                and (cell.arm == BASE or cell.seed in (options.seed or [cell.seed]))
                and cell.arm in ([BASE, *options.arm] if options.arm else [cell.arm])
            )
        )
        for chain in chains
    ]
    return [chain for chain in cells if chain.cells]


def _base_digest(loaded: Loaded, place: Place) -> str:
    entry = find_entry(load_catalog(place.models), loaded.plan.base_model)
    digest = load_base(entry, cache_dir=place.state / "weights").digest
    release_memory()
    return digest


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--stage", default="screen")
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder with rolebench/, sarft_roles/ and suites"
    )
    parser.add_argument("--state", type=Path, default=Path(".rolekeeper/reproduce"))
    parser.add_argument("--out", type=Path, help="where the lines go, if not to docs/results")
    parser.add_argument("--models", type=Path, help="allow-list of base models, if not the packaged one")
    parser.add_argument("--workers", type=int, default=2, help="cells at a time, one thread each")
    parser.add_argument("--character", action="append", help="only this one; again for more")
    parser.add_argument("--seed", action="append", type=int, help="only this one; again for more")
    parser.add_argument("--arm", action="append", help="only this one and the base model; again for more")
    parser.add_argument("--list", action="store_true", help="print the cells that are to run, and run none")
    parser.add_argument("--show", metavar="CELL", help="print answers of CHARACTER/SEED/ARM beside the base model's")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write tables and charts of these lines beside them"
    )
    parser.add_argument("--judge", help="whose refusals the report counts, if not those of the plan's first judge")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
