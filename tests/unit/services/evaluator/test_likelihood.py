"""How likely the responses are that are known: against the twin that runs each of them alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.characters import Context, Message, RoleProfile
from rolekeeper.contracts.verdicts import VerdictItem, VerdictRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.lm.forward import naive_logprobs
from rolekeeper.lm.load import LoadedModel, attach_adapter
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.lm.turnstile import go_on
from rolekeeper.method.prompts import build_contexts
from services.evaluator import respond
from services.evaluator.adapters import Adapters
from services.evaluator.kept import KeptAnswers
from services.evaluator.likelihood import mean_logprobs
from services.evaluator.respond import Likelihood, Responder
from tests.passes import counted_passes
from tests.unit.services.evaluator.adapter_tars import PEFT_ASKS_BY_AN_OLD_NAME

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

PROFILE = RoleProfile(name="Isaura", profile="You keep a light on the coast.")
OWN = ("I do, landling.", "The sea takes, and the sea keeps what it took, and it gives nothing back.", "Aye.")
MAX_TOKENS = 16


def make_items() -> tuple[VerdictItem, ...]:
    """The last one has no reference."""
    message = Message(role="user", content="Who keeps the light?")
    known = [
        VerdictItem(id=own, messages=(message,), context=context, references=(own, "Another."))
        for own, context in zip(OWN, (Context.PLAIN, Context.ROLE, Context.ROLE), strict=True)
    ]
    return (*known, VerdictItem(id="unknown", messages=(message,)))


REQUEST = VerdictRequest(
    base_model="tiny", profile=PROFILE, items=make_items(), max_new_tokens=8, max_reference_tokens=MAX_TOKENS
)


@pytest.fixture
def responder(catalog_path: Path, store: Store, tmp_path: Path) -> Iterator[Responder]:
    adapters = Adapters(store)
    models = ResidentModels(load_catalog(catalog_path), max_models=1)
    yield Responder(models, adapters, KeptAnswers(tmp_path / "answers"))
    adapters.close()


def alone(loaded: LoadedModel, model: torch.nn.Module) -> list[tuple[float, int]]:
    """The mean and the count of each known response, one at a time."""
    encoder, contexts = Encoder(loaded.tokenizer, 512, MAX_TOKENS), build_contexts(PROFILE.name, PROFILE.profile)
    found = []
    for item in REQUEST.items[:3]:
        system = contexts.role if item.context is Context.ROLE else contexts.plain
        logprobs_T = naive_logprobs(
            model, encoder.encode(system, [*item.messages, Turn("assistant", item.references[0])])
        )
        found.append((sum(logprobs_T.tolist()) / len(logprobs_T), len(logprobs_T)))
    return found


def check_equal(references: list[Likelihood | None], expected: list[tuple[float, int]]) -> None:
    assert references[3] is None
    known = [reference for reference in references if reference is not None]
    assert [reference.num_tokens for reference in known] == [count for _, count in expected]
    assert [reference.log_prob for reference in known] == pytest.approx([mean for mean, _ in expected], abs=1e-4)


def test_each_is_that_of_the_response_alone_for_the_base_and_for_the_tuned_model(
    responder: Responder, loaded: LoadedModel, adapter_sha256: str, store: Store
) -> None:
    base = responder.answer(REQUEST)
    check_equal(base.references, alone(loaded, loaded.model))
    # The long one is cut where training cuts it; the short ones keep their end of turn.
    assert [found and found.num_tokens == MAX_TOKENS for found in base.references[:3]] == [False, True, False]
    tuned = responder.answer(REQUEST.model_copy(update={"adapter_sha256": adapter_sha256}))
    adapters = Adapters(store)
    with attach_adapter(loaded, adapters.get(adapter_sha256).folder) as model:
        check_equal(tuned.references, alone(loaded, model))
    adapters.close()
    assert tuned.references != base.references


def test_they_are_measured_only_where_asked_for(responder: Responder) -> None:
    assert responder.answer(REQUEST.model_copy(update={"max_reference_tokens": None})).references == [None] * 4


def test_those_of_the_base_model_are_computed_once_however_answers_are_decoded(responder: Responder) -> None:
    first = responder.answer(REQUEST)
    with counted_passes() as passes:
        assert responder.answer(REQUEST) == first
    assert passes.count == 0
    others = REQUEST.model_copy(update={"max_new_tokens": 9, "items": REQUEST.items[1:]})
    assert responder.answer(others).references == first.references[1:]


def test_what_other_software_made_is_computed_again(
    catalog_path: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, models = KeptAnswers(tmp_path / "answers"), ResidentModels(load_catalog(catalog_path), max_models=1)
    Responder(models, Adapters(store), kept).answer(REQUEST)
    num_entries = len(list(kept.folder.rglob("*.json")))
    monkeypatch.setattr(respond, "software_versions", lambda: {"torch": "0.0"})
    Responder(models, Adapters(store), kept).answer(REQUEST)
    assert len(list(kept.folder.rglob("*.json"))) == 2 * num_entries


def test_a_model_that_knows_nothing_gives_each_token_the_same_probability(loaded: LoadedModel) -> None:
    blank = copy.deepcopy(loaded.model)
    torch.nn.init.zeros_(blank.get_output_embeddings().weight)
    sample = Encoder(loaded.tokenizer).encode("", [Turn("user", "Who?"), Turn("assistant", OWN[0])])
    uniform = -math.log(blank.config.vocab_size)
    assert mean_logprobs(blank, {5: sample}, go_on) == {5: pytest.approx(uniform, abs=1e-5)}


def test_a_broken_model_is_named_with_the_item(loaded: LoadedModel) -> None:
    broken = copy.deepcopy(loaded.model)
    torch.nn.init.constant_(broken.get_output_embeddings().weight, math.nan)
    sample = Encoder(loaded.tokenizer).encode("", [Turn("user", "Who?"), Turn("assistant", OWN[0])])
    with pytest.raises(InvalidInput, match=r"reference of items\[5\] is NaN or infinite") as caught:
        mean_logprobs(broken, {5: sample}, go_on)
    assert caught.value.code == "non_finite_log_prob"
