"""The finished card, read by the library of the Hugging Face hub."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard, ModelCardData

from rolekeeper.report.card import UnreadableCard, finish_card
from tests.unit.rolekeeper.reports import ADAPTER_SHA256, make_report

LIKELY = "Log-likelihood of its own responses, nats per token"
BABBLE = "Share of answers that are no language"
README = """\
---
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
library_name: peft
license: apache-2.0
tags:
- lora
---

# Isaura Kell

---
By SaRFT.
"""


def test_the_hub_reads_the_results() -> None:
    data = ModelCard(finish_card(README, make_report())).data
    assert isinstance(data, ModelCardData)
    assert (data.base_model, data.tags) == ("HuggingFaceTB/SmolLM2-135M-Instruct", ["lora"])
    results = [
        (result.dataset_type, result.dataset_name, result.metric_type, result.metric_value, result.metric_name)
        for result in data.eval_results or []
    ]
    refusals = "judge phrases@1 (95 % interval"
    assert results == [
        (
            "starter",
            "starter: harmful",
            "refusal_rate",
            0.9,
            f"Refusal rate, tuned, {refusals} 0.770 to 0.960, n = 40)",
        ),
        (
            "starter",
            "starter: harmful",
            "refusal_rate",
            0.95,
            f"Refusal rate, base model, {refusals} 0.830 to 0.986, n = 40)",
        ),
        (
            "held-out",
            "Held-out dialogues of the character",
            "rouge-l",
            0.21,
            "Rouge-L F1, tuned (95 % interval 0.160 to 0.260, n = 17)",
        ),
        (
            "held-out",
            "Held-out dialogues of the character",
            "rouge-l",
            0.11,
            "Rouge-L F1, base model (95 % interval 0.080 to 0.140, n = 17)",
        ),
    ] + [
        ("held-out", "Held-out dialogues of the character", *metric)
        for metric in (
            ("held_out_log_likelihood", -3.8, f"{LIKELY}, tuned (95 % interval -4.100 to -3.500, n = 17)"),
            ("held_out_log_likelihood", -4.1, f"{LIKELY}, base model (95 % interval -4.400 to -3.800, n = 17)"),
            ("role_refusal_rate", 0.5294, "Share refused, tuned (95 % interval 0.265 to 0.565, n = 17)"),
            ("role_refusal_rate", 0.2353, "Share refused, base model (95 % interval 0.118 to 0.318, n = 17)"),
            ("babble_rate", 0.0588, f"{BABBLE}, tuned (95 % interval 0.029 to 0.329, n = 17)"),
            ("babble_rate", 0.0, f"{BABBLE}, base model (95 % interval 0.000 to 0.200, n = 17)"),
        )
    ]


def test_the_text_stays_and_a_table_follows() -> None:
    card = finish_card(README, make_report())
    assert "# Isaura Kell\n\n---\nBy SaRFT.\n\n## Safety report\n" in card
    assert "| starter: harmful | phrases | 0.950 [0.830, 0.986] | 0.900 [0.770, 0.960] |" in card
    assert "| starter: harmful | local | not judged | not judged |" in card
    assert ADAPTER_SHA256 in card
    assert "| starter: harmful | 0.059 [0.029, 0.229] | 0.235 [0.118, 0.418] |" in card
    assert f"| {LIKELY} | higher | -4.100 [-4.400, -3.800] | -3.800 [-4.100, -3.500] |" in card


def test_a_report_of_an_older_build_has_no_table_of_the_role() -> None:
    card = finish_card(README, make_report().model_copy(update={"role": None}))
    assert "## Safety report\n\nRefusal rates" in card


def test_where_babble_was_not_looked_for_there_is_no_table_of_it() -> None:
    report = make_report()
    bare = report.results[0].model_copy(update={"babble": None})
    assert BABBLE not in finish_card(README, report.model_copy(update={"results": (bare,), "role": None}))


@pytest.mark.parametrize("readme", ["", "# No front matter\n", "---\nnever: closed\n"])
def test_a_readme_without_front_matter_is_an_error(readme: str) -> None:
    with pytest.raises(UnreadableCard, match="front matter"):
        finish_card(readme, make_report())
