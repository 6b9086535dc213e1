from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rolekeeper.contracts.jobs import AskedHyperparameters, Hyperparameters, JobCreate, Method
from rolekeeper.contracts.methods import MethodOptions


def test_the_paper_preset_gives_what_the_request_leaves_out() -> None:
    asked = AskedHyperparameters.model_validate({"preset": "paper", "epochs": 2})
    assert (asked.epochs, asked.batch_size, asked.learning_rate, asked.schedule) == (2, 32, 1e-4, "constant")
    assert (asked.lora_rank, asked.lora_alpha, asked.lora_targets, asked.warmup_share) == (32, 64, "q_v", 0.0)
    assert (asked.max_source_tokens, asked.max_response_tokens, asked.context) == (512, 128, "plain")
    assert AskedHyperparameters.model_validate({"preset": "paper", "training": "full"}).learning_rate == 2e-5
    assert AskedHyperparameters.model_validate(asked.model_dump(mode="json")) == asked


def test_what_is_learned_is_scored() -> None:
    asked: dict[str, Any] = {"character": "char_1", "base_model": "tiny", "hyperparameters": {"learned_turns": "all"}}
    with pytest.raises(ValidationError, match=r"needs method\.turns: all"):
        JobCreate.model_validate(asked)
    assert JobCreate.model_validate({**asked, "method": {"turns": "all"}}).hyperparameters.learned_turns == "all"


def test_a_number_may_be_left_to_us_where_that_is_known() -> None:
    asked = AskedHyperparameters(epochs="auto", batch_size="auto", learning_rate="auto")
    assert (asked.epochs, asked.batch_size, asked.learning_rate) == ("auto", "auto", "auto")
    with pytest.raises(ValidationError, match="epochs"):
        Hyperparameters.model_validate({"epochs": "auto"})
    with pytest.raises(ValidationError, match="lora_rank"):
        AskedHyperparameters.model_validate({"lora_rank": "auto"})
    with pytest.raises(ValidationError, match="less than or equal to 50"):
        AskedHyperparameters(epochs=51)


def test_an_early_stop_needs_a_validation_loss() -> None:
    with pytest.raises(ValidationError, match="set validation_share above 0"):
        AskedHyperparameters(early_stop_epochs=1)
    assert AskedHyperparameters(early_stop_epochs=1, validation_share=0.1).early_stop_epochs == 1


@pytest.mark.parametrize(
    ("method", "anchors", "first"),
    [
        (None, "prompts", 16),
        ({"kl_weight": 1.0}, "prompts", 16),
        ({"options": {"anchors_per_step": 4}}, "prompts", 16),
        ({"options": {"anchor_first_tokens": 3}}, "prompts", 3),
        ({"options": {"anchors": "harmful"}}, "harmful", None),
        ({"options": {"anchors": "both"}}, "both", None),
        ({"options": {"compat": "official"}}, "harmful", None),
        ({"name": "sarft"}, "harmful", None),
        ({"name": "sft"}, "harmful", None),
    ],
)
def test_a_job_that_names_no_method_gets_the_one_that_won(
    method: dict[str, Any] | None, anchors: str, first: int | None
) -> None:
    body = {"character": "char_1", "base_model": "tiny"} | ({} if method is None else {"method": method})
    job = JobCreate.model_validate(body)
    assert job.method.name == (method or {}).get("name", "sarft")
    assert (job.method.options.anchors, job.method.options.anchor_first_tokens) == (anchors, first)
    assert JobCreate.model_validate_json(job.model_dump_json()) == job


def test_a_limit_is_on_the_kl_over_all_words() -> None:
    with pytest.raises(ValidationError, match=r"leave it out, or options\.anchor_kl"):
        MethodOptions(anchors="both", anchor_kl="decision", kl_limit=0.1)


def test_a_share_takes_the_place_of_a_margin() -> None:
    assert Method(harmful_share=0.3).harmful_share == 0.3
    with pytest.raises(ValidationError, match="leave one of them out"):
        Method(harmful_share=0.3, margin=0.1)
    with pytest.raises(ValidationError, match="greater than 0"):
        Method(harmful_share=0.0)


def test_jobs_of_older_builds_keep_their_prompt_set() -> None:
    stored = Method().model_dump(mode="json") | {"prompt_set": "append"}
    del stored["harmful_share"]
    read = Method.model_validate(stored)
    assert (read.prompt_set, read.harmful_share) == ("append", None)
    assert Method().prompt_set == "contrast"


def test_tokens_are_not_weighed_by_the_released_prompts() -> None:
    method = {"prompt_set": "paper_v2", "options": {"weigh_tokens": "margin"}}
    with pytest.raises(ValidationError, match="take contrast or append"):
        JobCreate.model_validate({"character": "char_1", "base_model": "tiny", "method": method})


def test_options_are_told_where_they_were_asked_for() -> None:
    assert MethodOptions(safe_file="file_1").changed == ""
    assert (
        MethodOptions(anchors="both", surgery=True, kl_limit=None, rho=1.5).changed == "anchors both, surgery, rho 1.5"
    )


def test_a_method_needs_the_files_of_a_choice_that_it_makes_use_of() -> None:
    prompts, both = MethodOptions(anchors="prompts"), MethodOptions(anchors="both")
    assert Method(name="seal").needed_files == Method(name="seal", options=both).needed_files == ("safe_file",)
    assert Method(name="seal_filter", options=prompts).needed_files == ("safe_file",)
    assert Method(name="bi_selection", options=prompts).needed_files == ()
    assert not Method(name="bi_selection", options=prompts).selects_in_training
    assert Method().needed_files == ()


def test_a_limit_on_the_kl_needs_an_anchor_and_a_loss_without_kl() -> None:
    limited = {"options": {"kl_limit": 0.05}}
    with pytest.raises(ValidationError, match=r"kl_limit needs an anchor: sft has none; set options\.anchors to"):
        Method.model_validate({"name": "sft", **limited})
    with pytest.raises(ValidationError, match="surgery works on the KL in the loss"):
        MethodOptions(kl_limit=0.05, surgery=True)
    with pytest.raises(ValidationError, match="greater than 0"):
        MethodOptions(kl_limit=0.0)
    assert Method.model_validate({"kl_weight": 0.0, **limited}).options.kl_limit == 0.05
    assert Method(name="vaccine", options=MethodOptions(kl_limit=0.05, anchors="both")).options.kl_limit == 0.05


@pytest.mark.parametrize(
    "fields", [{"name": "sft"}, {"kl_weight": 0.0}, {"options": {"weigh_tokens": "margin", "anchors": "prompts"}}]
)
def test_weighing_tokens_needs_anchored_samples(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="weigh_tokens needs anchored samples"):
        Method.model_validate({"options": {"weigh_tokens": "margin"}, **fields})
    assert Method(name="seal", options=MethodOptions(weigh_tokens="margin")).anchors_samples
