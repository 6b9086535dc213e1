"""The score stage, with a real scorer over the wire, a real PostgreSQL and a real store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.characters import Dialogue, Message
from rolekeeper.contracts.jobs import Hyperparameters, Job, JobCreate, Method, StageName, Status
from rolekeeper.contracts.methods import MethodName, MethodOptions
from rolekeeper.contracts.scores import SampleScore
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.jobs import service
from rolekeeper.jobs.claims import Work, read_work
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.holding import Lease, Worker, hold
from rolekeeper.jobs.queue import Hints
from services.conductor.manifest import read_training
from services.conductor.remote import Remote, Service
from services.conductor.stages import score, warning_of_cuts
from services.scorer.app import create_app
from services.scorer.settings import Settings
from services.trainer.program.run import Resident, run_spec
from services.trainer.settings import Settings as TrainerSettings
from services.trainer.stage import training_samples, write_spec
from tests.serving import serving

OWNER = "platform"
TOKEN = "between-ourselves"
NUM_DIALOGUES = 70
MIDDLE = 0.28
"""A margin in the midst of what the tiny random model gives to these dialogues: some are harmful, some are not."""


ANCHORED_PROMPTS = MethodOptions(anchors="prompts")


class Made(NamedTuple):
    """What a score stage left behind."""

    job: Job
    work: Work
    scores: list[SampleScore]
    warnings: list[str]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def scorer_url(tiny_catalog: Path) -> Iterator[str]:
    with serving(create_app(Settings(service_token=TOKEN, models=tiny_catalog))) as url:
        yield url


def dialogue(number: int) -> Dialogue:
    texts = ("Hello there.", "Well?", f"Where do the boats go, {number}?", f"Out to the light, {number} of them.")
    roles = ("user", "assistant")
    return Dialogue(messages=tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(texts)))


HYPER = Hyperparameters(seed=1)


def put_dialogues(store: Store, count: int) -> str:
    """Keep some dialogues as the gateway keeps a method's file; returns their digest."""
    return store.put(jsonl(count)).sha256


def jsonl(count: int) -> bytes:
    return "".join(dialogue(number).model_dump_json() + "\n" for number in range(count)).encode()


def run_score(
    database: Database,
    store: Store,
    scorer_url: str,
    method: Method,
    hyper: Hyperparameters = HYPER,
    files: Mapping[str, str] | None = None,
) -> Made:
    """Queue a job, run its score stage, and read what it made."""
    with database.transaction() as session:
        new = service.NewCharacter(
            "Vesna",
            "You are Vesna, who keeps the light.",
            store.put(jsonl(NUM_DIALOGUES)),
            NUM_DIALOGUES,
            4 * NUM_DIALOGUES,
        )
        character = service.create_character(session, OWNER, new)
        order = JobCreate(character=character.id, base_model="tiny", method=method, hyperparameters=hyper)
        job_id = service.create_job(session, OWNER, order, request_id="req-1", files=files).id
    worker = Worker("w", database, Hints("redis://127.0.0.1:1/0"), Lease(30.0, 1.0))
    with hold(worker, job_id, StageName.SCORE) as holding:
        assert holding is not None
        remote = Remote(Service("scorer", scorer_url, TOKEN, 300.0), holding.check, None)
        score(holding, store, remote)
        remote.close()
    with database.transaction() as session:
        job = service.get_job(session, OWNER, job_id)
        work = read_work(session, holding.held._replace(stage=StageName.TRAIN))
        events = service.list_events(session, OWNER, job_id, after=0, limit=100).data
    lines_made = store.lines(work.artifacts[ArtifactKind.SCORES].sha256)
    warnings = [event.message for event in events if event.level == "warn"]
    return Made(job, work, [SampleScore.model_validate_json(line) for line in lines_made], warnings)


def test_every_dialogue_is_scored_and_the_harmful_training_samples_are_anchored(
    database: Database, store: Store, scorer_url: str
) -> None:
    made = run_score(database, store, scorer_url, Method(margin=MIDDLE))
    assert made.job.stages[0].status == Status.SUCCEEDED
    assert [score.index for score in made.scores] == list(range(NUM_DIALOGUES))
    harmful = [score for score in made.scores if score.harmful]
    assert made.job.harmful_share == len(harmful) / NUM_DIALOGUES
    # Else this test would show nothing.
    assert 0 < len(harmful) < NUM_DIALOGUES
    assert sum(score.held_out for score in made.scores) == 7
    assert all(score.selected == (score.harmful and not score.held_out) for score in made.scores)


@pytest.mark.parametrize("name", ["sft", "random", "flip", "all"])
def test_a_control_anchors_other_training_samples(database: Database, store: Store, scorer_url: str, name: str) -> None:
    made = run_score(database, store, scorer_url, Method.model_validate({"name": name, "margin": MIDDLE}))
    training = [score for score in made.scores if not score.held_out]
    assert not any(score.selected for score in made.scores if score.held_out)
    selected = [score.index for score in training if score.selected]
    harmful = [score.index for score in training if score.harmful]
    others = [score.index for score in training if not score.harmful]
    if name == "random":
        assert len(selected) == len(harmful)
        assert selected not in (harmful, others)
        again = run_score(database, store, scorer_url, Method(name="random", margin=MIDDLE))
        assert again.scores == made.scores
        assert (
            run_score(
                database, store, scorer_url, Method(name="random", margin=MIDDLE), hyper=Hyperparameters(seed=2)
            ).scores
            != made.scores
        )
    else:
        everyone = [score.index for score in training]
        assert selected == {"sft": [], "flip": others, "all": everyone}[name]


def test_a_share_of_all_samples_is_harmful_whatever_the_sign_of_their_margins(
    database: Database, store: Store, scorer_url: str
) -> None:
    made = run_score(database, store, scorer_url, Method(harmful_share=0.3))
    ranked = sorted(made.scores, key=lambda score: (-score.margin, score.index))
    assert {score.index for score in made.scores if score.harmful} == {score.index for score in ranked[:21]}
    assert made.job.harmful_share == 21 / NUM_DIALOGUES
    assert all(score.selected == (score.harmful and not score.held_out) for score in made.scores)


def test_the_trainer_is_told_what_is_anchored(database: Database, store: Store, scorer_url: str) -> None:
    made = run_score(database, store, scorer_url, Method(name="flip", margin=MIDDLE))
    samples = list(training_samples(made.work, store))
    training = [score for score in made.scores if not score.held_out]
    assert [sample.harmful for sample in samples] == [not score.harmful for score in training]
    assert [sample.dialogue for sample in samples] == [dialogue(score.index) for score in training]


def test_the_trainer_gets_a_sample_for_each_response_that_is_learned(
    database: Database, store: Store, scorer_url: str
) -> None:
    hyper = HYPER.model_copy(update={"learned_turns": "all"})
    made = run_score(database, store, scorer_url, Method(turns="all"), hyper)
    samples = list(training_samples(made.work, store))
    training = [score for score in made.scores if not score.held_out]
    assert [len(sample.dialogue.messages) for sample in samples] == [2, 4] * len(training)
    assert [sample.harmful for sample in samples] == [score.selected for score in training for _turn in range(2)]


@pytest.mark.parametrize("name", ["sarft", "random", "all", "seal"])
def test_no_sample_is_anchored_where_prompts_are(
    database: Database, store: Store, scorer_url: str, name: MethodName
) -> None:
    made = run_score(database, store, scorer_url, Method(name=name, options=ANCHORED_PROMPTS))
    assert sum(score.harmful for score in made.scores) > 0
    assert not any(score.selected for score in made.scores)
    assert not any(sample.harmful for sample in training_samples(made.work, store))


def test_the_files_of_a_method_reach_its_training(
    database: Database, store: Store, scorer_url: str, tiny_catalog: Path, tmp_path: Path
) -> None:
    """Bi-Selection anchors as many as are harmful, and chooses them by the two files that the job came with."""
    files: dict[str, str] = {"safe_file": put_dialogues(store, 4), "harmful_file": put_dialogues(store, 2)}
    method = Method(name="bi_selection", options=MethodOptions(safe_file="file_1", harmful_file="file_2"))
    made = run_score(database, store, scorer_url, method, files=files)
    assert not any(score.selected for score in made.scores)
    settings = TrainerSettings(
        database_url="", redis_url="", store_dir=store.folder, work_dir=tmp_path, models=tiny_catalog
    )
    spec = TrainSpec.model_validate_json(write_spec(tmp_path, made.work, store, settings).read_bytes())
    assert spec.safe is not None
    assert spec.harmful is not None
    assert (spec.safe.sha256, spec.harmful.sha256) == (files["safe_file"], files["harmful_file"])
    result = run_spec(spec, Resident(), lambda _progress: None)
    assert result.num_selected == sum(score.harmful and not score.held_out for score in made.scores) > 0
    assert result.num_samples == NUM_DIALOGUES - 7
    record = read_training(store, store.put_file(Path(result.adapter_path)).sha256)
    assert (record.num_steps, record.last_loss) == (result.num_steps, result.last_loss)


def test_all_turns_are_scored_where_the_method_says_so(database: Database, store: Store, scorer_url: str) -> None:
    made = run_score(database, store, scorer_url, Method(turns="all"))
    assert {score.num_turns for score in made.scores} == {2}


def test_responses_over_the_limit_are_warned_of_once(database: Database, store: Store, scorer_url: str) -> None:
    assert run_score(database, store, scorer_url, Method()).warnings == []
    made = run_score(database, store, scorer_url, Method(), hyper=Hyperparameters(seed=1, max_response_tokens=8))
    (warning,) = made.warnings
    assert all(score.truncated for score in made.scores)
    assert warning.startswith(f"{NUM_DIALOGUES} samples have a response of more than max_response_tokens = 8 tokens")


@pytest.mark.parametrize(("num_truncated", "start"), [(1, "1 sample has a response"), (2, "2 samples have a response")])
def test_a_warning_counts_what_was_cut(num_truncated: int, start: str) -> None:
    assert str(warning_of_cuts(num_truncated, 128)).startswith(start)
    assert warning_of_cuts(0, 128) is None
