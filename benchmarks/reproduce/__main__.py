"""`python -m benchmarks.reproduce`: the study of the paper's question, on characters, seeds and ways to train.

A plan says what is run (benchmarks/reproduce/plan.toml), a stage of it is run with `--stage`, and what is finished is
not run again: one JSON line for each character, seed and arm in docs/results/reproduce-STAGE.jsonl. A line is taken
for done if its settings, the base model and the code are the same. `--data` names the folder with RoleBench, the
profiles and the public suites (docs/reproduce.md says where they are published). Answers stay in `--state`, which git
ignores: `--show CELL` prints twenty of a cell beside the base model's. `--report FILE` makes tables and charts.
"""

from __future__ import annotations

import argparse
import signal
import sys
from functools import partial
from pathlib import Path

from benchmarks.reproduce.cells import Only, plan_chains
from benchmarks.reproduce.plan import PLAN, Loaded, find_stage, load_plan, unavailable
from benchmarks.reproduce.rejudge import judge_again
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
    # So that children end with it, as they do on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _parse()
    if options.show:
        return exit_code(lambda: print(show_cell(options.show, options.state)))
    if options.judge_again:
        return exit_code(partial(_judge_again, options))
    if options.report:
        plan = load_plan(options.plan).plan
        return exit_code(partial(write_report, options.report, plan, options.judge, _only(options)))
    try:
        return exit_code(partial(_run, options))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT


def _judge_again(options: argparse.Namespace) -> None:
    num_changed = judge_again(load_plan(options.plan, options.base_model).plan, _place(options))
    print(f"{num_changed} lines have other verdicts", file=sys.stderr)


def _run(options: argparse.Namespace) -> None:
    loaded = load_plan(options.plan, options.base_model)
    stage = find_stage(loaded.plan, options.stage)
    for reason in unavailable(loaded.plan, stage.arms).values():
        print(f"left out: {reason}", file=sys.stderr)
    chains = _only(options).of(plan_chains(loaded.plan, stage))
    place = _place(options)
    task = Task(options.plan, loaded, place, Keys(_base_digest(loaded, place), code_version()))
    missing = missing_chains(task, chains)
    num_cells, num_missing = (sum(len(chain.cells) for chain in each) for each in (chains, missing))
    print(f"plan {loaded.digest}, code {task.keys.version}: {num_missing} of {num_cells} cells to run", file=sys.stderr)
    if options.list:
        print("\n".join(cell.name for chain in missing for cell in chain.cells))
    elif num_failed := run_all(task, missing, options.workers):
        raise RolekeeperError(f"{num_failed} of {len(missing)} children failed; their lines in {place.out} say why")


def _place(options: argparse.Namespace) -> Place:
    out = options.out or RESULTS / f"reproduce-{options.stage}.jsonl"
    return Place(options.data, options.state, out, options.models)


def _only(options: argparse.Namespace) -> Only:
    return Only(*(tuple(named or ()) for named in (options.character, options.seed, options.arm)))


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
    parser.add_argument("--base-model", help="alias, if not the plan's")
    parser.add_argument("--models", type=Path, help="allow-list of base models, if not the packaged one")
    parser.add_argument("--workers", type=int, default=2, help="cells at a time, one thread each")
    parser.add_argument("--character", action="append", help="only this one; again for more")
    parser.add_argument("--seed", action="append", type=int, help="only this one; again for more")
    parser.add_argument("--arm", action="append", help="only this one and the base model; again for more")
    parser.add_argument("--list", action="store_true", help="print the cells that are to run, and run none")
    parser.add_argument("--show", metavar="CELL", help="print answers of CHARACTER/SEED/ARM beside the base model's")
    parser.add_argument(
        "--judge-again", action="store_true", help="judge the kept answers of a stage's lines by today's judges"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write tables and charts of these lines beside them"
    )
    parser.add_argument("--judge", help="whose refusals the report counts, if not those of the plan's first judge")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
