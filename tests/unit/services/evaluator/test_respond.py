"""Answers: those of the model alone, of the adapter on it, and of the model alone again."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load, save

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.characters import Context, Message, Role, RoleProfile
from rolekeeper.contracts.evaluation import Decoding
from rolekeeper.contracts.verdicts import VerdictItem, VerdictRequest
from rolekeeper.errors import ClientGone, InvalidInput
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.encode import Encoder
from rolekeeper.lm.generate import Way, answers, greedy_answers
from rolekeeper.lm.load import LoadedModel
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.method.prompts import build_contexts
from rolekeeper.method.rose import rose_contexts
from services.evaluator.adapters import Adapters, BadAdapter
from services.evaluator.kept import KeptAnswers
from services.evaluator.respond import Responder
from tests.passes import counted_passes
from tests.unit.rolekeeper.lm.generation.twins import generate_alone
from tests.unit.services.evaluator.adapter_tars import PEFT_ASKS_BY_AN_OLD_NAME, pack

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

GREEDY = Decoding()
PROFILE = RoleProfile(name="Isaura", profile="You keep a light on the coast.")


def item(number: int, text: str = "Where do the boats go?", context: Context = Context.PLAIN) -> VerdictItem:
    return VerdictItem(id=f"item-{number}", messages=(Message(role="user", content=text),), context=context)


def ask(
    *items: VerdictItem, adapter: str | None = None, base_model: str = "tiny", decoding: Decoding = GREEDY
) -> VerdictRequest:
    return VerdictRequest(
        base_model=base_model,
        profile=PROFILE,
        adapter_sha256=adapter,
        items=items,
        max_new_tokens=12,
        decoding=decoding,
    )


QUESTIONS = tuple(item(number, "Tell me more. " * number) for number in range(1, 6))


@pytest.fixture
def models(catalog_path: Path) -> ResidentModels:
    return ResidentModels(load_catalog(catalog_path), max_models=3)


@pytest.fixture
def responder(models: ResidentModels, store: Store, tmp_path: Path) -> Iterator[Responder]:
    adapters = Adapters(store)
    yield Responder(models, adapters, KeptAnswers(tmp_path / "answers"))
    adapters.close()


def shelve(folder: Path, answer: str) -> None:
    """Put another answer in place of every kept one."""
    for path in folder.rglob("*.json"):
        KeptAnswers(folder).keep(path.stem, answer)


def test_answers_are_those_of_each_prompt_alone(responder: Responder, loaded: LoadedModel) -> None:
    encoder = Encoder(loaded.tokenizer)
    system = build_contexts(PROFILE.name, PROFILE.profile).role
    in_role = item(9, context=Context.ROLE)
    prompts = [encoder.encode_prompt("", question.messages) for question in QUESTIONS]
    prompts.append(encoder.encode_prompt(system, in_role.messages))
    expected = [greedy_answers(loaded.model, loaded.tokenizer, [prompt], 12)[0] for prompt in prompts]
    answers = responder.answer(ask(*QUESTIONS, in_role))
    assert answers.texts == expected
    assert (answers.base_digest, answers.decoding) == (loaded.digest, "greedy, max_new_tokens=12")
    assert (
        expected[-1]
        != greedy_answers(loaded.model, loaded.tokenizer, [encoder.encode_prompt("", in_role.messages)], 12)[0]
    )


def test_base_answers_are_computed_once(responder: Responder, tmp_path: Path) -> None:
    responder.answer(ask(*QUESTIONS))
    shelve(tmp_path / "answers", "From the shelf.")
    assert responder.answer(ask(*QUESTIONS)).texts == ["From the shelf."] * len(QUESTIONS)
    assert responder.answer(ask(QUESTIONS[0], item(0), item(0))).texts[0] == "From the shelf."


def test_a_damaged_kept_answer_is_computed_again(responder: Responder, tmp_path: Path) -> None:
    answers = responder.answer(ask(*QUESTIONS))
    for path in (tmp_path / "answers").rglob("*.json"):
        path.write_bytes(b"{")
    assert responder.answer(ask(*QUESTIONS)) == answers


def test_other_settings_have_other_answers(responder: Responder, tmp_path: Path) -> None:
    responder.answer(ask(*QUESTIONS))
    shelve(tmp_path / "answers", "From the shelf.")
    longer = ask(*QUESTIONS).model_copy(update={"max_new_tokens": 13})
    assert "From the shelf." not in responder.answer(longer).texts
    assert "From the shelf." not in responder.answer(ask(*QUESTIONS, base_model="twin")).texts
    assert "From the shelf." not in responder.answer(ask(item(1, QUESTIONS[0].messages[0].content, Context.ROLE))).texts


def test_samples_are_seeded_and_kept_by_their_seed(responder: Responder, tmp_path: Path) -> None:
    hot = Decoding(temperature=1.5, top_p=0.9, seed=3)
    sampled = responder.answer(ask(*QUESTIONS, decoding=hot))
    assert sampled.decoding == "sampled, temperature=1.5, top_p=0.9, seed=3, max_new_tokens=12"
    assert sampled.texts != responder.answer(ask(*QUESTIONS)).texts
    assert sampled.texts != responder.answer(ask(*QUESTIONS, decoding=hot.model_copy(update={"seed": 4}))).texts
    shelve(tmp_path / "answers", "From the shelf.")
    assert responder.answer(ask(QUESTIONS[0], decoding=hot)).texts == ["From the shelf."]
    for path in (tmp_path / "answers").rglob("*.json"):
        path.unlink()
    assert responder.answer(ask(*QUESTIONS[::-1], decoding=hot)).texts == sampled.texts[::-1]


def test_rose_contrasts_two_system_prompts_in_each_context(
    responder: Responder, loaded: LoadedModel, tmp_path: Path
) -> None:
    rose, in_role = Decoding(rose_weight=0.5), item(9, context=Context.ROLE)
    encoder, role = Encoder(loaded.tokenizer), build_contexts(PROFILE.name, PROFILE.profile).role
    asked = [("", QUESTIONS[0]), ("", QUESTIONS[1]), (role, in_role)]
    prompts = [
        [encoder.encode_prompt(branch, question.messages) for branch in rose_contexts(system)]
        for system, question in asked
    ]
    given = responder.answer(ask(*(question for _, question in asked), decoding=rose))
    assert given.texts == answers(loaded.model, loaded.tokenizer, prompts, Way(12, rose_weight=0.5))
    assert given.decoding == "rose@1 of weight 0.5, greedy, max_new_tokens=12"
    assert given.texts != responder.answer(ask(*(question for _, question in asked))).texts
    shelve(tmp_path / "answers", "From the shelf.")
    assert responder.answer(ask(QUESTIONS[0], decoding=rose)).texts == ["From the shelf."]


def test_work_for_a_client_that_has_gone_ends(responder: Responder, loaded: LoadedModel) -> None:
    def check() -> None:
        if passes.count > 3:
            raise ClientGone("gone")

    responder.answer(ask(item(0)))
    with counted_passes() as passes, pytest.raises(ClientGone):
        responder.answer(ask(*QUESTIONS), check)
    assert passes.count <= 5
    assert responder.answer(ask(item(0))).texts


def test_a_merged_adapter_answers_as_generate_does_with_one_beside(
    responder: Responder,
    loaded: LoadedModel,
    store: Store,
    adapter_files: dict[str, bytes],
    adapter_sha256: str,
    tmp_path: Path,
) -> None:
    for name, content in adapter_files.items():
        (tmp_path / name).write_bytes(content)
    encoder = Encoder(loaded.tokenizer)
    prompts = [encoder.encode_prompt("", question.messages) for question in QUESTIONS]
    ends = frozenset({int(loaded.tokenizer.eos_token_id)})
    peft_model = PeftModel.from_pretrained(copy.deepcopy(loaded.model), str(tmp_path)).eval()
    expected = [generate_alone(peft_model, prompt, 12, ends) for prompt in prompts]
    texts = [text.strip() for text in loaded.tokenizer.batch_decode(expected, skip_special_tokens=True)]
    assert responder.answer(ask(*QUESTIONS, adapter=adapter_sha256)).texts == texts


def test_the_adapter_answers_and_leaves_the_base_model_as_it_was(
    responder: Responder, models: ResidentModels, adapter_sha256: str, tmp_path: Path
) -> None:
    base = responder.answer(ask(*QUESTIONS))
    with models.use("tiny") as loaded:
        weights = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    tuned = responder.answer(ask(*QUESTIONS, adapter=adapter_sha256))
    again = responder.answer(ask(*QUESTIONS, adapter=adapter_sha256))
    assert tuned.texts != base.texts
    assert again == tuned
    assert tuned.base_digest == base.base_digest
    with models.use("tiny") as loaded:
        after = loaded.model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
    for path in (tmp_path / "answers").rglob("*.json"):
        path.unlink()
    assert responder.answer(ask(*QUESTIONS)) == base


def test_a_wrong_adapter_leaves_the_base_model_as_it_was(
    responder: Responder, store: Store, adapter_files: dict[str, bytes], tmp_path: Path
) -> None:
    base = responder.answer(ask(*QUESTIONS))
    tensors = load(adapter_files["adapter_model.safetensors"])
    del tensors[sorted(tensors)[0]]
    sha256 = store.put(pack({**adapter_files, "adapter_model.safetensors": save(tensors)})).sha256
    with pytest.raises(BadAdapter, match="do not fit base model 'tiny'"):
        responder.answer(ask(*QUESTIONS, adapter=sha256))
    with pytest.raises(BadAdapter, match="made for base model 'tiny'"):
        responder.answer(ask(*QUESTIONS, adapter=store.put(pack(adapter_files)).sha256, base_model="qwen"))
    for path in (tmp_path / "answers").rglob("*.json"):
        path.unlink()
    assert responder.answer(ask(*QUESTIONS)) == base


def test_an_adapter_that_peft_refuses_is_the_adapters_fault(
    responder: Responder, store: Store, adapter_files: dict[str, bytes], tmp_path: Path
) -> None:
    """NaN weights get past every check of ours and are refused while they are merged."""
    base = responder.answer(ask(*QUESTIONS))
    tensors = {name: tensor * float("nan") for name, tensor in load(adapter_files["adapter_model.safetensors"]).items()}
    sha256 = store.put(pack({**adapter_files, "adapter_model.safetensors": save(tensors)})).sha256
    with pytest.raises(BadAdapter, match="can't be loaded"):
        responder.answer(ask(*QUESTIONS, adapter=sha256))
    for path in (tmp_path / "answers").rglob("*.json"):
        path.unlink()
    assert responder.answer(ask(*QUESTIONS)) == base


@pytest.mark.parametrize("last", ["assistant", "system"])
def test_items_without_a_question_at_their_end_are_all_named(responder: Responder, last: Role) -> None:
    turns = (Message(role="user", content="Hello?"), Message(role=last, content="Well met."))
    wrong = [VerdictItem(id=f"wrong-{number}", messages=turns) for number in (1, 2)]
    with pytest.raises(InvalidInput, match=rf"item 'wrong-1': its last turn is the {last}'s.*\(and 1 more\)") as caught:
        responder.answer(ask(item(0), wrong[0], item(2), wrong[1]))
    assert [problem.pointer for problem in caught.value.problems] == ["/items/1/messages", "/items/3/messages"]


def test_an_item_that_is_too_long_is_named(responder: Responder) -> None:
    with pytest.raises(InvalidInput, match=r"item 'item-7': the last user turn .* max_source_tokens = 512"):
        responder.answer(ask(item(0), item(7, "word " * 2000)))


def test_a_prompt_and_its_answer_must_fit_the_models_window(
    responder: Responder, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = len(Encoder(loaded.tokenizer).encode_prompt("", item(1).messages)) + 12
    monkeypatch.setattr(LoadedModel, "window", needed)
    assert len(responder.answer(ask(item(1))).texts) == 1
    monkeypatch.setattr(LoadedModel, "window", needed - 1)
    with pytest.raises(InvalidInput, match=f"item 'item-1': {needed} tokens are too many"):
        responder.answer(ask(item(1)))


def test_requests_at_once_get_the_answers_of_requests_in_turn(responder: Responder, adapter_sha256: str) -> None:
    requests = [ask(*QUESTIONS), ask(*QUESTIONS, adapter=adapter_sha256)] * 3
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(responder.answer, requests))
    assert answers[0] == answers[2] == answers[4]
    assert answers[1] == answers[3] == answers[5]
    assert answers[0] != answers[1]


def test_the_adapter_config_is_what_scales_the_adapter(
    responder: Responder, store: Store, adapter_files: dict[str, bytes], adapter_sha256: str
) -> None:
    config = {**json.loads(adapter_files["adapter_config.json"]), "lora_alpha": 1}
    weaker = store.put(pack({**adapter_files, "adapter_config.json": json.dumps(config).encode()})).sha256
    answers = [responder.answer(ask(*QUESTIONS, adapter=sha256)).texts for sha256 in (adapter_sha256, weaker)]
    assert answers[0] != answers[1]
