"""What a child process does: the cells of one chain, one after the other, each with its line at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.reproduce.cells import Cell, Chain, append_line, digest_of
from benchmarks.reproduce.characters import Cast, read_cast
from benchmarks.reproduce.evaluation import Asked, Evaluator, measures
from benchmarks.reproduce.plan import BASE, Loaded, Plan, Ready, make_ready
from benchmarks.reproduce.prompts import HELD_OUT, by_group, digest_of_items, flat, held_out_items, suite_items
from benchmarks.reproduce.scaling import scaled_adapter
from benchmarks.reproduce.training import Made, Trained, train_arm, write_whole
from rolekeeper.contracts.evaluation import Decoding
from rolekeeper.contracts.jobs import AskedHyperparameters
from rolekeeper.contracts.verdicts import Verdict, VerdictItem
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.resident import ResidentModels


class Place(NamedTuple):
    """Where data is read from and results go. `out` takes the lines; answers and adapters stay in `state`."""

    data: Path
    state: Path
    out: Path
    models: Path | None = None


class Keys(NamedTuple):
    """What all cells of a run have in common."""

    base_digest: str
    version: str


class Subject(NamedTuple):
    """A character and everything that it is asked, by group."""

    cast: Cast
    groups: dict[str, list[VerdictItem]]


def read_subject(plan: Plan, name: str, place: Place) -> Subject:
    """Return a character with what it is asked. Raises InvalidInput."""
    cast = read_cast(plan, name, place.data)
    groups = suite_items(plan, cast.profile.name, place.data, place.models)
    return Subject(cast, {**groups, HELD_OUT: held_out_items(cast, plan.context)})


def settings_of(plan: Plan, cell: Cell, subject: Subject) -> str:
    """A digest of all that a cell depends on beside the base model and the code."""
    asked = [digest_of_items(subject.groups), plan.max_new_tokens, plan.judges]
    if cell.arm == BASE:
        return digest_of([subject.cast.digest, asked, plan.decoding])
    ready = make_ready(plan, cell.arm, cell.seed)
    arm = plan.arms[cell.arm]
    owner = plan.arms[arm.adapter or cell.arm]
    parts = [ready.method, ready.hyperparameters, ready.decoding]
    return digest_of(
        [
            subject.cast.digest,
            asked,
            plan.matmul_precision,
            arm.scale,
            owner.share,
            owner.pick,
            [each.model_dump(mode="json") for each in parts],
        ]
    )


def run_chain(loaded: Loaded, chain: Chain, place: Place, keys: Keys) -> None:
    """Measure the cells of a chain. A line is written as soon as its cell is finished."""
    bench = Workbench(loaded, chain, place, keys)
    for cell in chain.cells:
        append_line(place.out, bench.measure(cell))


class Workbench:
    """The models and judges of a child process, and the adapter that its cells share."""

    def __init__(self, loaded: Loaded, chain: Chain, place: Place, keys: Keys) -> None:
        self._plan, self._plan_digest = loaded
        self._place, self._keys = place, keys
        self._subject = read_subject(self._plan, chain.cells[0].character, place)
        self._models = ResidentModels(load_catalog(place.models), 1, place.state / "weights")
        self._evaluator = Evaluator(self._models, self._plan.judges, place.state / "cache")
        self._trained: Trained | None = None

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Return the line of a cell."""
        if cell.arm == BASE:
            hyper = AskedHyperparameters.model_validate(self._plan.hyperparameters)
            return self._head(cell) | self._measured(cell, None, Decoding.model_validate(self._plan.decoding), hyper)
        ready = make_ready(self._plan, cell.arm, cell.seed)
        trained = self._train(cell, ready)
        adapter = Path(trained.result.adapter_path).read_bytes()
        scale = self._plan.arms[cell.arm].scale
        with self._evaluator.holding(adapter if scale == 1 else scaled_adapter(adapter, scale)) as sha256:
            measured = self._measured(cell, sha256, ready.decoding, ready.hyperparameters)
        seconds = trained.seconds | measured.pop("cpu_seconds")
        return self._head(cell) | _training(trained) | measured | {"adapter_sha256": sha256, "cpu_seconds": seconds}

    def _train(self, cell: Cell, ready: Ready) -> Trained:
        if self._trained is None:
            arm = self._plan.arms[self._plan.arms[cell.arm].adapter or cell.arm]
            place, precision = self._place, self._plan.matmul_precision
            made = Made(self._plan.base_model, place.models, place.state, tuple(self._keys), precision)
            self._trained = train_arm(arm, ready, self._subject.cast, self._models, made)
        return self._trained

    def _head(self, cell: Cell) -> dict[str, Any]:
        character = self._plan.characters[cell.character]
        return {
            "cell": cell.name,
            **cell._asdict(),
            "settings": settings_of(self._plan, cell, self._subject),
            **self._keys._asdict(),
            "plan": self._plan_digest,
            "villain": character.villain,
            "num_training": len(self._subject.cast.training),
        }

    def _measured(
        self, cell: Cell, adapter: str | None, decoding: Decoding, hyper: AskedHyperparameters
    ) -> dict[str, Any]:
        started_at = time.process_time()
        groups, plan = self._subject.groups, self._plan
        asked = Asked(plan.base_model, self._subject.cast, flat(groups), decoding, plan.max_new_tokens)
        found = self._evaluator.verdicts(asked, adapter)
        verdicts = by_group(groups, found)
        # Two branches decode what neither of them is as likely to say: ROSE has no log-likelihood of its own.
        has_own = decoding.rose_weight is None
        likelihoods = self._log_likelihoods(asked, hyper, adapter) if has_own else None
        self._keep_answers(cell, found)
        return {
            **measures(verdicts, plan.judges),
            "log_likelihood": likelihoods,
            "cpu_seconds": {"evaluate": round(time.process_time() - started_at, 1)},
            "made_with": {judge.used.name: judge.used.version for judge in self._evaluator.judges},
        }

    def _log_likelihoods(
        self, asked: Asked, hyper: AskedHyperparameters, adapter: str | None
    ) -> dict[str, dict[str, float]]:
        names = [item.id for item in self._subject.groups[HELD_OUT]]
        found = self._evaluator.log_likelihoods(asked, hyper, adapter)
        return {context: dict(zip(names, values, strict=True)) for context, values in found.items()}

    def _keep_answers(self, cell: Cell, verdicts: list[Verdict]) -> None:
        items = flat(self._subject.groups)
        content = [
            {
                "id": item.id,
                "prompt": item.messages[-1].content,
                "answer": verdict.response,
                "labels": {name: each.label for name, each in verdict.judgements.items()},
                "references": item.references[:1],
            }
            for item, verdict in zip(items, verdicts, strict=True)
        ]
        write_whole(answers_path(self._place.state, cell), content)


def answers_path(state: Path, cell: Cell) -> Path:
    """Where the answers of a cell are."""
    character = "".join(letter if letter.isalnum() else "-" for letter in cell.character.lower())
    return state / "answers" / character / str(cell.seed) / f"{cell.arm}.json"


def _training(trained: Trained) -> dict[str, Any]:
    result = trained.result
    return {
        "flagged_share": round(trained.flagged_share, 4),
        "anchored_share": round(trained.anchored_share, 4),
        "training": {
            "method": trained.method.model_dump(mode="json", exclude_defaults=True),
            "hyperparameters": result.hyperparameters.model_dump(mode="json", exclude_defaults=True),
            "num_steps": result.num_steps,
            "first_loss": round(result.first_loss, 4),
            "last_loss": round(result.last_loss, 4),
        },
    }
