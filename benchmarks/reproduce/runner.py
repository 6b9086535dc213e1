"""Runs what is missing of a stage: some chains at a time, each in a child process. What is finished stays finished."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.reproduce.cells import Cell, Chain, append_line, latest, read_lines
from benchmarks.reproduce.child import order_of
from benchmarks.reproduce.plan import Loaded
from benchmarks.reproduce.work import Keys, Place, Subject, read_subject, settings_of

POLL_SECONDS = 0.2
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class Task(NamedTuple):
    """What a child is started with, beside its chain."""

    plan_path: Path
    loaded: Loaded
    place: Place
    keys: Keys


class Child(NamedTuple):
    """A process, its chain, the file that takes what it says, and how many lines there were before."""

    process: subprocess.Popen[bytes]
    chain: Chain
    log: Path
    num_lines: int


def missing_chains(task: Task, chains: Sequence[Chain]) -> list[Chain]:
    """Return the cells that have no good line with the same settings, base model and code; chains without any go."""
    done = {line.key for line in latest(read_lines(task.place.out)).values()}
    subjects: dict[str, Subject] = {}
    missing = []
    for chain in chains:
        name = chain.cells[0].character
        if name not in subjects:
            subjects[name] = read_subject(task.loaded.plan, name, task.place)
        cells = tuple(cell for cell in chain.cells if key_of(task, cell, subjects[name]) not in done)
        missing += [Chain(cells)] if cells else []
    return missing


def key_of(task: Task, cell: Cell, subject: Subject) -> tuple[str, str, str, str]:
    """What a line must have for the cell to be done."""
    return (cell.name, settings_of(task.loaded.plan, cell, subject), *task.keys)


def run_all(task: Task, chains: Sequence[Chain], workers: int) -> int:
    """Run the chains, so many at a time. Returns how many of them failed: each has left lines that say why."""
    waiting, running, num_failed = list(chains), list[Child](), 0
    started_at = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(task, waiting.pop(0)))
            time.sleep(POLL_SECONDS)
            for child in [each for each in running if each.process.poll() is not None]:
                running.remove(child)
                num_failed += _settle(task, child)
                _tell(len(chains), len(waiting) + len(running), child, started_at)
    finally:
        for child in running:
            child.process.terminate()
            child.process.wait()
    return num_failed


def _start(task: Task, chain: Chain) -> Child:
    log = task.place.state / "logs" / f"{'-'.join(chain.cells[0].name.split('/')).replace(' ', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    order = order_of(task.plan_path, task.loaded.plan.base_model, chain, task.place, task.keys)
    command = [sys.executable, "-m", "benchmarks.reproduce.child", order]
    num_lines = len(read_lines(task.place.out))
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=os.environ | ONE_THREAD)
    return Child(process, chain, log, num_lines)


def _settle(task: Task, child: Child) -> bool:
    """Write an error line for each cell that a failed child left without one. Returns whether it failed."""
    if child.process.returncode == 0:
        return False
    written = latest(read_lines(task.place.out)[child.num_lines :])
    reason = (child.log.read_text("utf-8", errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    for cell in child.chain.cells:
        if cell.name not in written:
            line = {"cell": cell.name, **cell._asdict(), "settings": "", **task.keys._asdict()}
            ended = f"exit code {child.process.returncode}: {reason[:500]}"
            append_line(task.place.out, line | {"plan": task.loaded.digest, "error": ended})
    return True


def _tell(num_chains: int, num_left: int, child: Child, started_at: float) -> None:
    num_done, seconds = num_chains - num_left, time.monotonic() - started_at
    names = ", ".join(cell.name for cell in child.chain.cells)
    ended = "done" if child.process.returncode == 0 else f"FAILED, see {child.log}"
    minutes = seconds / num_done * num_left / 60
    print(f"[{num_done}/{num_chains}] {names}: {ended}; about {minutes:.0f} min left", file=sys.stderr, flush=True)
