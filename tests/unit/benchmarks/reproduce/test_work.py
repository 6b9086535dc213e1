"""Cells of a tiny model from dialogues to lines, through the product's own code, and what is not run again."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from benchmarks.reproduce.cells import Cell, Chain, append_line, latest, plan_chains, read_lines
from benchmarks.reproduce.characters import read_cast, without_instruction
from benchmarks.reproduce.plan import Loaded, Plan
from benchmarks.reproduce.prompts import suite_items
from benchmarks.reproduce.rejudge import judge_again
from benchmarks.reproduce.runner import Task, missing_chains
from benchmarks.reproduce.scaling import scaled_adapter
from benchmarks.reproduce.show import show_cell
from benchmarks.reproduce.work import Keys, Place, run_chain
from rolekeeper.errors import InvalidInput
from tests.unit.benchmarks.reproduce.lines import JUDGE, make_plan

KEYS = Keys("base", "code")
PLAN = make_plan(hyperparameters={"epochs": 1, "batch_size": 4, "max_response_tokens": 32})


@pytest.fixture
def place(tmp_path: Path, tiny_catalog: Path) -> Place:
    """A folder of data in the public sets' formats."""
    data = tmp_path / "data"
    rows = [
        {"role": "Ada", "question": f" Question {number % 18}?", "generated": [f"Answer {number}.", "Other."]}
        for number in range(20)
    ]
    files = {
        "rolebench/role-generalization__role_specific__test.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "rolebench/instruction-generalization__role_specific__test.jsonl": json.dumps(rows[3]) + "\n",
        "sarft_roles/desc.json": json.dumps({"Ada": "You count.", "Bo": "You wait."}),
        "advbench/harmful_behaviors.csv": "goal,target\n" + "".join(f"Request {n},Sure\n" for n in range(12)),
        "xstest/xstest_prompts.csv": "id,prompt,type,label\n" + "".join(f"{n},Ask {n}?,a,safe\n" for n in range(4)),
    }
    for name, text in files.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(text, encoding="utf-8")
    return Place(data, tmp_path / "state", tmp_path / "lines.jsonl", tiny_catalog)


def test_each_question_is_there_once_and_the_split_is_the_plans(place: Place) -> None:
    cast = read_cast(PLAN, "Ada", place.data)
    assert (len(cast.training), len(cast.held_out)) == (12, 4)
    questions = [each.messages[0].content for each in (*cast.training, *(one.dialogue for one in cast.held_out))]
    assert len(set(questions)) == 16
    assert cast.held_out[0].references[1] == "Other."
    assert read_cast(PLAN, "Ada", place.data) == cast
    with pytest.raises(InvalidInput, match="Bo has 0 dialogues"):
        read_cast(PLAN, "Bo", place.data)


def test_profiles_lose_the_instruction_that_all_of_them_end_with() -> None:
    profiles = {"Ada": "You count. Stay in it. ", "Bo": "You mount! Stay in it.", "Cy": "You wait. Stay in it."}
    assert without_instruction(profiles) == {"Ada": "You count.", "Bo": "You mount!", "Cy": "You wait."}
    assert without_instruction({"Ada": "You count.", "Bo": "You mount."}) == {"Ada": "You count.", "Bo": "You mount."}
    assert without_instruction({"Ada": "You count."}) == {"Ada": "You count."}


def test_no_prompt_of_the_recipes_half_is_asked(place: Place) -> None:
    items = suite_items(PLAN, "Ada", place.data, place.models)
    assert {name: len(each) for name, each in items.items()} == {"harmful_plain": 2, "harmful_role": 2, "lookalike": 2}
    assert [item.id for item in items["harmful_plain"]] == [item.id for item in items["harmful_role"]]
    everything = {**PLAN.suites, "harmful_plain": PLAN.suites["harmful_plain"].model_copy(update={"count": 7})}
    with pytest.raises(InvalidInput, match="has 6 prompts of part harmful that the base model was not trained on"):
        suite_items(PLAN.model_copy(update={"suites": everything}), "Ada", place.data, place.models)


def test_a_chain_leaves_whole_lines_and_is_not_run_again(place: Place) -> None:
    loaded, chain = Loaded(PLAN, "digest"), Chain((Cell("Ada", 1, "sft"), Cell("Ada", 1, "half")))
    base = Chain((Cell("Ada", 0, "base"),))
    task = Task(Path("plan.toml"), loaded, place, KEYS)
    assert missing_chains(task, [base, chain]) == [base, chain]
    run_chain(loaded, base, place, KEYS)
    run_chain(loaded, chain, place, KEYS)
    assert missing_chains(task, [base, chain]) == []
    lines = latest(read_lines(place.out))
    sft, half = lines["Ada/1/sft"], lines["Ada/1/half"]
    assert set(sft.refused[JUDGE]) == {"harmful_plain", "harmful_role", "lookalike", "held_out"}
    assert sft.log_likelihood is not None
    assert half.log_likelihood is not None
    assert sft.log_likelihood != lines["Ada/0/base"].log_likelihood
    assert (sft.anchored_share, sft.training["num_steps"]) == (0, 3)
    assert sft.adapter_sha256 not in (None, half.adapter_sha256)
    assert "Question" in show_cell("Ada/1/sft", place.state)
    newer = Task(Path("plan.toml"), loaded, place, KEYS._replace(version="newer"))
    assert missing_chains(newer, [chain]) == [chain]


def test_kept_answers_are_judged_again(place: Place) -> None:
    chain = Chain((Cell("Ada", 0, "base"),))
    run_chain(Loaded(PLAN, "digest"), chain, place, KEYS)
    append_line(place.out, {**json.loads(place.out.read_text()), "cell": "Ada/1/sft", "arm": "sft", "error": "boom"})
    whole = place.out.read_text()
    assert judge_again(PLAN, place) == 0
    row, failed = map(json.loads, whole.splitlines())
    others = {name: 1 - value for name, value in row["refused"][JUDGE]["held_out"].items()}
    row["refused"][JUDGE]["held_out"], row["made_with"] = others, {JUDGE: "an older one"}
    place.out.write_text("".join(json.dumps(each) + "\n" for each in (row, failed)))
    assert judge_again(PLAN, place) == 1
    assert place.out.read_text() == whole


def test_answers_to_other_prompts_are_not_judged_again(place: Place) -> None:
    run_chain(Loaded(PLAN, "digest"), Chain((Cell("Ada", 0, "base"),)), place, KEYS)
    older = place.out.read_text().replace(json.loads(place.out.read_text())["made_with"][JUDGE], "an older one")
    place.out.write_text(older)
    fewer = {name: suite for name, suite in PLAN.suites.items() if name != "lookalike"}
    with pytest.raises(InvalidInput, match="the answers of Ada/0/base are not to what this plan asks"):
        judge_again(PLAN.model_copy(update={"suites": fewer}), place)
    assert place.out.read_text() == older


def test_another_rate_is_another_cell(place: Place) -> None:
    other: Plan = PLAN.model_copy(update={"hyperparameters": {**PLAN.hyperparameters, "learning_rate": 0.01}})
    chain = Chain((Cell("Ada", 0, "base"), Cell("Ada", 1, "sft")))
    run_chain(Loaded(PLAN, "digest"), Chain(chain.cells[:1]), place, KEYS)
    task = Task(Path("plan.toml"), Loaded(other, "digest"), place, KEYS)
    assert missing_chains(task, [chain]) == [Chain(chain.cells[1:])]
    assert len(plan_chains(PLAN, PLAN.stages["screen"])) == 14


def test_a_scaled_adapter_has_its_change_multiplied_and_nothing_else() -> None:
    tensors = {"m.lora_A.weight": [[1.0, 2.0]], "m.lora_B.weight": [[3.0], [4.0]]}
    halves = {name: torch.tensor(rows).half() for name, rows in tensors.items()}
    scaled = _weights(scaled_adapter(_tar(safetensors.torch.save(halves)), 0.5))
    assert scaled["m.lora_A.weight"].tolist() == [[1, 2]]
    assert scaled["m.lora_B.weight"].tolist() == [[1.5], [2]]
    assert scaled["m.lora_B.weight"].dtype == halves["m.lora_B.weight"].dtype


def _tar(weights: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in (("adapter_config.json", b"{}"), ("adapter_model.safetensors", weights)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def _weights(tar: bytes) -> dict[str, torch.Tensor]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        file = opened.extractfile("adapter_model.safetensors")
        return safetensors.torch.load(b"" if file is None else file.read())
