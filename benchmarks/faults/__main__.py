"""`python -m benchmarks.faults --seed N`: faults against the whole stack with a tiny model, while clients use it.

PostgreSQL, Redis and the five processes are real, and so are scoring, training and evaluation. Three backends submit
the same job again and again, follow, cancel, pause and delete. Every few seconds a fault from a seeded order strikes.
Then it is quiet until every job has ended, and the state is checked. Each fault is a JSON line, the findings are one,
and the exit code is 1 if there are any. The seed fixes what strikes in which order, not what it meets.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from benchmarks.faults.checker import check
from benchmarks.faults.clients import Backend, History, is_over
from benchmarks.faults.nemesis import Target, faults, revive
from benchmarks.processor import processor_name
from local.failures import StackFailed
from local.plan import make_plan
from local.stack import Stack
from rolekeeper.client.client import Client
from rolekeeper.contracts.characters import CharacterCreate, Dialogue, Message
from rolekeeper.errors import RolekeeperError
from tests.tiny import make_tiny_model, write_catalog

SETTINGS = {
    "lease_seconds": "6",
    "heartbeat_seconds": "0.5",
    "sweep_seconds": "1",
    "checkpoint_seconds": "0.5",
    "stall_seconds": "15",
    "train_stall_seconds": "15",
}
NUM_BACKENDS = 3
BETWEEN_SECONDS = (0.5, 4.0)
QUIET_SECONDS = 900.0
TIDY_SECONDS = 75.0
"""A trainer clears its work folder within a minute."""


def main() -> int:
    """Disturb the stack, and check it. Returns the exit code."""
    options = parse()
    os.environ["OMP_NUM_THREADS"] = "1"  # threads that wait for each other make a tiny model many times slower
    with tempfile.TemporaryDirectory(prefix="rolekeeper-faults-") as folder:
        state = Path(folder) / "state"
        catalog = write_catalog(Path(folder) / "models.toml", {"tiny": make_tiny_model(Path(folder) / "tiny")})
        with Stack(make_plan(state, extra={**SETTINGS, "models": str(catalog)})) as stack:
            target = target_of(stack)
            history, struck = disturb(target, options)
            quiet_after = wait_for_quiet(stack, history)
            time.sleep(TIDY_SECONDS)
            findings = check(target.postgres.url(), state, history)
    summary = {"faults": sum(struck.values()), "by_kind": dict(sorted(struck.items())), "seed": options.seed}
    clients = {"jobs": len(history.jobs), "cancelled": len(history.cancelled), "deleted": len(history.deleted)}
    found = {"findings": findings, "kinds": dict(Counter(kind for kind, _ in findings))}
    refused = {"refused": dict(Counter(history.refused))}
    show({"summary": True, **summary, **clients, **refused, "quiet_after_s": quiet_after, **found})
    return 1 if findings or quiet_after is None else 0


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--only", nargs="*", choices=sorted(faults()), default=sorted(faults()), metavar="FAULT")
    return parser.parse_args()


def target_of(stack: Stack) -> Target:
    """The stack with its servers. Raises StackFailed where the settings name servers that are not its own."""
    if stack.postgres is None or stack.redis is None:
        raise StackFailed("faults strike PostgreSQL and Redis too: unset ROLEKEEPER_DATABASE_URL and _REDIS_URL")
    return Target(stack, stack.postgres, stack.redis)


def disturb(target: Target, options: argparse.Namespace) -> tuple[History, Counter[str]]:
    """Let the clients work while one fault after the other strikes. Returns what they did, and what struck."""
    history, struck, dice = History(), Counter[str](), Random(options.seed)
    stack, every = target.stack, faults()
    character = make_character(stack)
    backends = [Backend(stack, character, history, 100 * options.seed + number) for number in range(NUM_BACKENDS)]
    for backend in backends:
        backend.start()
    for number in range(options.faults):
        time.sleep(dice.uniform(*BETWEEN_SECONDS))
        name = dice.choice(options.only)
        started = time.monotonic()
        every[name](target, dice)
        struck[name] += 1
        revive(stack)
        show(
            {"fault": number, "name": name, "seconds": round(time.monotonic() - started, 2), "jobs": len(history.jobs)}
        )
    for backend in backends:
        backend.stopping.set()
    for backend in backends:
        backend.join()
    return history, struck


def make_character(stack: Stack) -> str:
    """A small character."""
    dialogues = tuple(
        Dialogue(
            messages=(
                Message(role="user", content=f"Who keeps light number {number} tonight?"),
                Message(role="assistant", content=f"I keep light {number}, as I always have."),
            )
        )
        for number in range(20)
    )
    new = CharacterCreate(name="The Keeper", profile="You are the keeper of the lights.", dialogues=dialogues)
    with Client(stack.plan.url, stack.api_key) as client:
        return client.create_character(new).id


def wait_for_quiet(stack: Stack, history: History) -> float | None:
    """Wait until every job has ended. Returns the seconds that it took, or None where time is up."""
    started = time.monotonic()
    with Client(stack.plan.url, stack.api_key, timeout=15.0) as client:
        while time.monotonic() - started < QUIET_SECONDS:
            revive(stack)
            try:
                if is_over(client, history):
                    return round(time.monotonic() - started, 1)
            except RolekeeperError:
                pass  # it is not up yet
            time.sleep(1.0)
    return None


def show(line: dict[str, object]) -> None:
    """Print one JSON line."""
    print(json.dumps({"benchmark": "faults", "processor": processor_name(), **line}), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
