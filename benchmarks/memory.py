"""`python -m benchmarks.memory`: memory of each process while one job scores 100,000 samples.

The whole stack runs as `make up` starts it, with a tiny random model: what grows with the number of samples does so
with any model, and a large one would take hours. Dialogues are words of the example, one question and one response
each, all different. A line is what each process and its children hold resident (PSS, MB) when so many samples are
scored. Then the same again, which the score cache answers as far as it reaches. The jobs are cancelled before they
train.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.scoring.synthetic import read_words
from benchmarks.timing import show
from local.plan import make_plan
from local.signals import stoppable
from local.stack import Stack
from rolekeeper.client.client import Client
from rolekeeper.contracts.characters import CharacterCreate
from rolekeeper.contracts.jobs import JobCreate, Stage, StageName, Status
from tests.tiny import make_tiny_model, write_catalog

PROCESSES = ("gateway", "conductor", "scorer")
SEED = 42
QUESTION_WORDS, RESPONSE_WORDS = 12, 30
POLL_SECONDS = 0.5


class Run(NamedTuple):
    """A stack and a client of it."""

    stack: Stack
    client: Client


def main() -> int:
    """Print one line for each tenth of the samples. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--cache-mib", type=int, default=256, help="the scorer's cache of log-probs")
    options = parser.parse_args()
    with stoppable(), tempfile.TemporaryDirectory() as scratch, running(Path(scratch), options.cache_mib) as run:
        dialogues = write_dialogues(Path(scratch) / "dialogues.jsonl", options.samples)
        uploaded = run.client.upload_dialogues(dialogues)
        character = run.client.create_character(
            CharacterCreate(name="Vesna", profile="You are Vesna, who keeps the light.", dialogue_file=uploaded.id)
        )
        for case in ("first", "again"):
            follow(run, character.id, case, options)
    return 0


@contextlib.contextmanager
def running(folder: Path, cache_mib: int) -> Iterator[Run]:
    """Yield a stack with a tiny model; it is stopped at the end."""
    catalog = write_catalog(folder / "models.toml", {"tiny": make_tiny_model(folder / "tiny")})
    settings = {"models": str(catalog), "scorer_cache_mib": str(cache_mib)}
    with (
        Stack(make_plan(folder / "state", extra=settings)) as stack,
        Client(stack.plan.url, stack.api_key, timeout=300.0) as client,
    ):
        yield Run(stack, client)


def write_dialogues(path: Path, count: int) -> Path:
    """Write `count` dialogues, no two alike."""
    words, rng = read_words(), random.Random(SEED)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            question = f"{' '.join(rng.choices(words, k=QUESTION_WORDS))} {number}?"
            response = " ".join(rng.choices(words, k=RESPONSE_WORDS))
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


def follow(run: Run, character: str, case: str, options: argparse.Namespace) -> None:
    """Score the character once, and print a line at each tenth of the way."""
    show(options.json, "memory", case, {"samples": 0, "seconds": 0.0, **resident(run.stack)})
    started_at, shown, step = time.monotonic(), 0, max(1, options.samples // 10)
    job = run.client.create_job(JobCreate(character=character, base_model="tiny"))
    while True:
        stage = score_stage(run.client, job.id)
        done = stage.progress.done if stage.progress is not None else 0
        if done >= shown + step or stage.status is Status.SUCCEEDED:
            shown = options.samples if stage.status is Status.SUCCEEDED else done
            seconds = round(time.monotonic() - started_at, 1)
            show(options.json, "memory", case, {"samples": shown, "seconds": seconds, **resident(run.stack)})
        if stage.status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED):
            break
        time.sleep(POLL_SECONDS)
    run.client.cancel(job.id)
    run.client.wait(job.id)


def score_stage(client: Client, job_id: str) -> Stage:
    """The score stage of a job."""
    return next(stage for stage in client.job(job_id).stages if stage.name is StageName.SCORE)


def resident(stack: Stack) -> dict[str, float]:
    """Memory of each process with its children, in MB; what they share is split among them."""
    return {f"{name}_mb": round(_pss(stack.processes[name].family()) / 1e6, 1) for name in PROCESSES}


def _pss(processes: list[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += process.memory_full_info().pss
    return total


if __name__ == "__main__":
    sys.exit(main())
