"""`python -m benchmarks.safety`: what each way of training costs in safety, by the product's own report.

Every way is a job of the whole stack, with real PostgreSQL, Redis and the five processes: the same dialogues, the same
hyperparameters and seed, the same suites and judges. A line gives each measure of the report, base and tuned, and the
difference with its 95 % interval.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.methods.ways import all_ways, parse_ways, ways_parser
from benchmarks.methods.workload import make_files
from benchmarks.timing import show
from local.plan import make_plan
from local.stack import Stack
from rolekeeper.client.client import Client
from rolekeeper.client.commands import read_profile
from rolekeeper.contracts.characters import CharacterCreate
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import TERMINAL, Hyperparameters, JobCreate, Method, Status
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.suites import SuiteChoice
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base
from rolekeeper.logs import configure_logging

POLL_SECONDS = 1.0


def main() -> None:
    """Run a job for each way that was named, or for all."""
    options = _parse()
    configure_logging("benchmarks.safety", "WARNING")
    ways = all_ways()
    hyper = Hyperparameters(epochs=options.epochs, seed=options.seed)
    suites = tuple(SuiteChoice.model_validate_json(text) for text in options.suite) or (SuiteChoice(name="starter"),)
    evaluation = EvaluationOptions(suites=suites)
    with tempfile.TemporaryDirectory() as folder:
        needed = _write_needed_files(Path(folder), options.base_model, hyper)
        state = Path(folder) / "stack"
        with Stack(make_plan(state, options.cache)) as stack, Client(stack.plan.url, stack.api_key) as client:
            character = _create_character(client, options.character, options.samples, Path(folder))
            uploaded = {name: client.upload_dialogues(path).id for name, path in needed.items()}
            for name in options.ways or ways:
                job = JobCreate(
                    character=character,
                    base_model=options.base_model,
                    method=with_files(ways[name], uploaded),
                    hyperparameters=hyper,
                    evaluation=evaluation,
                )
                show(options.json, "safety", name, _figures_of(stack, client, job, options.out))


def with_files(method: Method, uploaded: dict[str, str]) -> Method:
    """The method with the ids of the files that it needs."""
    files: dict[str, str] = {option: uploaded[option] for option in method.needed_files}
    return method.model_copy(update={"options": method.options.model_copy(update=files)})


def figures_of(report: SafetyReport, seconds: float) -> dict[str, Any]:
    """One line: the measures of a report by name."""
    measures = {
        measure.name: {
            "base": round(measure.base.value, 4),
            "tuned": round(measure.tuned.value, 4),
            "low": round(measure.difference.low, 4),
            "high": round(measure.difference.high, 4),
            "num_samples": measure.tuned.num_samples,
        }
        for measure in report.measures
    }
    return {
        "job": report.job,
        "seconds": seconds,
        "judge": report.judges[0].version,
        "harmful_share": report.harmful_share.value,
        "last_loss": report.training.last_loss,
        "adapter_sha256": report.adapter_sha256,
        "gate_passed": report.gate and report.gate.passed,
        **measures,
    }


def _figures_of(stack: Stack, client: Client, asked: JobCreate, out: Path | None) -> dict[str, Any]:
    started_at = time.perf_counter()
    job = client.create_job(asked)
    while (job := client.job(job.id)).status not in TERMINAL:
        stack.revive()
        time.sleep(POLL_SECONDS)
    if job.status != Status.SUCCEEDED:
        raise SystemExit(f"{asked.method.name}: {job.status}: {job.error}")
    report = client.report(job.id)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{job.id}.report.json").write_text(report.model_dump_json(indent=1), encoding="utf-8")
    return figures_of(report, time.perf_counter() - started_at)


def _create_character(client: Client, folder: Path, num_samples: int, scratch: Path) -> str:
    lines = (folder / "dialogues.jsonl").read_text("utf-8").splitlines(keepends=True)[:num_samples]
    part = scratch / "dialogues.jsonl"
    part.write_text("".join(lines), encoding="utf-8")
    profile = read_profile(folder / "character.json")
    uploaded = client.upload_dialogues(part)
    return client.create_character(CharacterCreate(**profile.model_dump(), dialogue_file=uploaded.id)).id


def _write_needed_files(folder: Path, base_model: str, hyper: Hyperparameters) -> dict[str, Path]:
    """The files of safe and harmful answers, by the option that names them. The model is freed afterwards."""
    files = make_files(folder, load_base(find_entry(load_catalog(None), base_model)), hyper)
    return {"safe_file": Path(files.safe.path), "harmful_file": Path(files.harmful.path)}


def _parse() -> argparse.Namespace:
    parser = ways_parser(__doc__)
    parser.add_argument("--samples", type=int, default=176)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--suite", action="append", default=[], help='a choice as JSON: {"name": "advbench"}; repeatable'
    )
    parser.add_argument("--out", type=Path, help="folder that keeps the reports")
    parser.add_argument("--cache", type=Path, default=Path(".rolekeeper/cache"))
    return parse_ways(parser)


if __name__ == "__main__":
    main()
