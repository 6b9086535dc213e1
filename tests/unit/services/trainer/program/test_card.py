from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rolekeeper.contracts.characters import Context, RoleProfile
from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodName, MethodOptions
from rolekeeper.lm.load import LoadedModel
from services.trainer.program.card import render_card, render_model_card
from services.trainer.program.data import hold_out
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, load_data, make_spec


def test_the_front_matter_is_what_the_hub_reads(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder)
    card = render_card(spec, loaded.entry, load_data(spec, loaded), "d1", None)
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "tests/tiny",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "none",
        "tags": ["lora", "roleplay", "sarft", "base_model:adapter:tests/tiny"],
    }
    for sentence in (
        "# Keeper",
        "on 10 dialogues",
        "on the 4 of them",
        "reverse KL",
        "| learning_rate | 0.01 |",
        "--max-lora-rank 8",
        'from_pretrained("tests/tiny")',
        "safety report of the job",
        "empty system turn",
    ):
        assert sentence in text


def test_the_card_says_how_many_responses_were_cut_and_that_all_are_learned(
    tiny_folder: Path, loaded: LoadedModel
) -> None:
    hyper = HYPERPARAMETERS.model_copy(update={"max_response_tokens": 8, "learned_turns": "all"})
    spec = make_spec(tiny_folder, hyperparameters=hyper)
    data = load_data(spec, loaded)
    assert data.num_truncated > 0
    text = " ".join(render_card(spec, loaded.entry, data, "d1", None).split())
    assert f"Of {data.num_truncated} responses only the first 8 tokens were learned" in text
    assert f"here they are called dialogues: {len(data.training)}." in text


def test_sft_names_no_anchor_and_a_role_context_its_prompt(tiny_folder: Path, loaded: LoadedModel) -> None:
    hyper = HYPERPARAMETERS.model_copy(update={"context": Context.ROLE})
    spec = make_spec(tiny_folder, method=Method(name="sft"), hyperparameters=hyper)
    entry = loaded.entry.model_copy(update={"revision": "abc"})
    card = render_card(spec, entry, load_data(spec, loaded), "d1", None)
    assert "no sample held to\nthe base model" in card
    assert "KL" not in card
    assert "serve it with the same" in card
    assert 'from_pretrained("tests/tiny", revision="abc")' in card


@pytest.mark.parametrize(
    ("name", "subset"),
    [
        ("random", "on 4 of them that were drawn at random"),
        ("flip", "on the 4 of them that are not harmful"),
        ("all", "on all 4 of them"),
    ],
)
def test_a_control_says_what_it_anchors(tiny_folder: Path, loaded: LoadedModel, name: MethodName, subset: str) -> None:
    spec = make_spec(tiny_folder, method=Method(name=name))
    card = render_card(spec, loaded.entry, load_data(spec, loaded), "d1", None)
    assert "By a control on 10 dialogues" in card
    assert subset in card
    assert "SaRFT" not in card


def test_a_name_can_not_break_the_card(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder, profile=RoleProfile(name="Kee\n---\nper {x}", profile="p"))
    card = render_card(spec, loaded.entry, load_data(spec, loaded), "d1", None)
    assert "# Kee --- per {x}\n" in card


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("seal", "RBO with the selection of SEAL"),
        ("bi_selection", "nearest to those of harmful answers"),
        ("seal_filter", "left out before, as SEAL"),
        ("sppft", "safety layers were\nnot trained"),
        ("vaccine", "attention outputs\nwere shifted"),
    ],
)
def test_other_methods_say_what_they_do(tiny_folder: Path, loaded: LoadedModel, name: MethodName, words: str) -> None:
    spec = make_spec(tiny_folder, method=Method(name=name))
    assert words in render_card(spec, loaded.entry, load_data(spec, loaded), "d1", None)


def test_options_beyond_the_paper_are_said(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(
        tiny_folder, method=Method(options=MethodOptions(anchors="both", surgery=True, weigh_tokens="margin"))
    )
    card = render_card(spec, loaded.entry, load_data(spec, loaded), "d1", None)
    assert "on the 4 of them" in card
    assert "weighted 0.5, on its own answers to short prompts" in card
    assert "SafeGrad" in card
    assert "Each token counted in the KL" in card
    decided = MethodOptions(anchors="both", anchor_kl="decision", anchor_first_tokens=4)
    held = make_spec(tiny_folder, method=Method(options=decided))
    card = render_card(held, loaded.entry, load_data(held, loaded), "d1", None)
    assert "how likely it is to refuse (by the first 4 tokens of its refusals), for short prompts" in card
    instead = make_spec(tiny_folder, method=Method(options=MethodOptions(anchors="prompts")))
    card = render_card(instead, loaded.entry, load_data(instead, loaded), "d1", None)
    assert "no sample held to" in card
    assert "on the 4 of them" not in card


def test_a_limit_on_the_kl_is_said(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder, method=Method(options=MethodOptions(kl_limit=0.05)))
    data = load_data(spec, loaded)
    card = render_card(spec, loaded.entry, data, "d1", None)
    assert "By SaRFT (arXiv 2502.20968) on 10 dialogues: cross-entropy on all of them. Where the reverse KL" in card
    assert "above 0.05 nats a token" in card
    assert "on a few at a time of the 4 of them that are more likely" in card
    assert "weighted" not in card
    shifted = make_spec(tiny_folder, method=Method(name="vaccine", options=MethodOptions(kl_limit=1, anchors="both")))
    card = render_card(shifted, loaded.entry, data._replace(anchors=data.samples[:1]), "d1", None)
    assert "at a time of the base model's own answers to short prompts.\n" in card
    assert "attention outputs\nwere shifted" in card


def test_a_validation_curve_is_shown(tiny_folder: Path, loaded: LoadedModel) -> None:
    hyper = HYPERPARAMETERS.model_copy(update={"validation_share": 0.2})
    spec = make_spec(tiny_folder, hyperparameters=hyper)
    data = hold_out(load_data(spec, loaded), hyper)
    card = render_card(spec, loaded.entry, data, "d1", None, (2.5, 2.04567))
    assert "on 8 dialogues" in card
    assert "the loss of 2 more dialogues" in card
    assert "\n2.500, 2.046.\n" in card
    stopping = spec.model_copy(update={"hyperparameters": hyper.model_copy(update={"early_stop_epochs": 1})})
    assert "\n2.500, 2.046. The weights are" in render_model_card(stopping, loaded.entry, data, "d1", (2.5, 2.04567))
    assert "not trained on" not in render_card(spec, loaded.entry, data, "d1", None)
