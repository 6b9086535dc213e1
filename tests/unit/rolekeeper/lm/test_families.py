"""What the chat templates and the models of the known families do, and that scores stand it.

Shapes: B samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from rolekeeper.lm.encode import EncodedSample, Encoder, Turn
from rolekeeper.lm.forward import Batch, collate, response_logprobs
from rolekeeper.method.prompts import build_contexts
from rolekeeper.method.rds import implicit_rewards, select_harmful
from tests.chat_templates import LLAMA31, LLAMA32, LLAMA32_CLOCK
from tests.tiny import Architecture, make_family_tokenizer
from tests.tiny_tokenizers import make_llama3_tokenizer
from tests.unit.rolekeeper.lm.naive import FAMILIES, Pair, make_pair, means_of, naive_means

PROFILE = "You are the keeper of the light."
LAST = (Turn("user", "Who keeps the light?"), Turn("assistant", "I keep the light."))
DIALOGUE = (Turn("user", "Who are you?"), Turn("assistant", "Ask me what you want."), *LAST)

each_family = pytest.mark.parametrize("family", FAMILIES)


def render(tokenizer: PreTrainedTokenizerBase, system: str | None, turns: Sequence[Turn]) -> str:
    """The template's own text, by hand where Rolekeeper has its own ways."""
    messages = [turn._asdict() for turn in turns]
    if tokenizer.bos_token == "<bos>" and system:
        messages[0]["content"] = f"{system}\n\n{messages[0]['content']}"
    elif tokenizer.bos_token != "<bos>" and system is not None:
        messages.insert(0, {"role": "system", "content": system})
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, date_string="26 Jul 2024"
    )
    return str(text)


def whole_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


PLAIN = {
    "llama3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWho keeps the light?"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma2": "<bos><start_of_turn>user\nWho keeps the light?<end_of_turn>\n<start_of_turn>model\n",
} | dict.fromkeys(
    ("qwen2", "smollm2"),
    "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nWho keeps the light?<|im_end|>\n<|im_start|>assistant\n",
)


@each_family
def test_the_plain_context_has_no_prompt_that_the_template_puts_in(family: Architecture) -> None:
    tokenizer = make_family_tokenizer(family)
    ids = Encoder(tokenizer).encode_prompt("", LAST[:1])
    assert tokenizer.decode(ids) == PLAIN[family]
    injects = "You are" in render(tokenizer, None, LAST[:1])
    assert injects == (family in {"qwen2", "smollm2"})


@pytest.mark.parametrize("template", [LLAMA31, LLAMA32, LLAMA32_CLOCK])
def test_the_date_in_the_prompt_is_the_same_every_day(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_llama3_tokenizer(template)

    def ids_on(day: int) -> tuple[list[int], str]:
        class Frozen(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Frozen:
                return cls(2031, 5, day, tzinfo=tz)

        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Frozen)
        raw = tokenizer.apply_chat_template([LAST[0]._asdict()], tokenize=False)
        return Encoder(tokenizer).encode_prompt(PROFILE, LAST[:1]), str(raw)

    (monday, raw_monday), (tuesday, raw_tuesday) = ids_on(5), ids_on(6)
    assert (raw_monday != raw_tuesday) == (template != LLAMA31)  # the clock is really asked
    assert monday == tuesday
    assert "Today Date: 26 Jul 2024\n\nYou are the keeper" in str(tokenizer.decode(monday))


@pytest.mark.parametrize("family", ["llama3", "gemma2"])
@pytest.mark.parametrize("system", ["", PROFILE, "<bos><|begin_of_text|>"])
def test_there_is_exactly_one_bos_and_it_comes_first(family: Architecture, system: str) -> None:
    tokenizer = make_family_tokenizer(family)
    sample = Encoder(tokenizer).encode(system, DIALOGUE)
    ids = sample.prompt_ids + sample.response_ids
    assert [position for position, token_id in enumerate(ids) if token_id == tokenizer.bos_token_id] == [0]
    doubled = tokenizer(render(tokenizer, PROFILE, DIALOGUE[:-1]))["input_ids"]
    assert list(doubled).count(tokenizer.bos_token_id) == 2  # what a careless caller gets


@each_family
@pytest.mark.parametrize("place", ["system", "user", "earlier answer", "response"])
def test_control_tokens_that_people_spell_stay_text(family: Architecture, place: str) -> None:
    tokenizer = make_family_tokenizer(family)
    encoder = Encoder(tokenizer)
    controls = tokenizer.added_tokens_decoder
    spelled = " ".join(str(token) for token in controls.values())

    def encode(text: str) -> list[int]:
        texts = {"system": "s", "user": "u", "earlier answer": "a", "response": "r"}
        texts[place] += text
        turns = (("user", texts["user"]), ("assistant", texts["earlier answer"]), ("user", "v"))
        sample = encoder.encode(
            texts["system"], [*(Turn(*turn) for turn in turns), Turn("assistant", texts["response"])]
        )
        return sample.prompt_ids + sample.response_ids

    ids = encode(f" {spelled}")
    assert [token_id for token_id in ids if token_id in controls] == [i for i in encode("") if i in controls]
    assert spelled in str(tokenizer.decode(ids))


@each_family
def test_response_ids_are_the_same_in_all_contexts(family: Architecture) -> None:
    encoder = Encoder(make_family_tokenizer(family))
    contexts = build_contexts("Keeper", PROFILE)
    responses = {tuple(encoder.encode(system, DIALOGUE).response_ids) for system in (*contexts, "\n", "Who")}
    assert len(responses) == 1


@each_family
@pytest.mark.parametrize("turns", [LAST[:1], DIALOGUE[:-1], DIALOGUE[:2] * 3 + LAST[:1]])
@pytest.mark.parametrize("system", ["", PROFILE, "You are\n"])
def test_prompt_ids_are_those_of_the_whole_rendered_text(
    family: Architecture, turns: tuple[Turn, ...], system: str
) -> None:
    tokenizer = make_family_tokenizer(family)
    assert Encoder(tokenizer).encode_prompt(system, turns) == whole_ids(tokenizer, render(tokenizer, system, turns))


def seam_samples(encoder: Encoder) -> list[EncodedSample]:
    """Questions that draw the last letters of the profile into their first token, each in its own way."""
    questions = ("Who keeps the light?", "Why?", "\nWho?", " Who?", "I ask.", "<bos>", "", "日本")
    return [encoder.encode(PROFILE, [Turn("user", question), LAST[1]]) for question in questions]


def test_tokens_reach_across_the_seam_of_profile_and_question() -> None:
    """Without a system role the two are one text: nothing that is shared may be cut out of it as text."""
    tokenizer = make_family_tokenizer("gemma2")
    encoder = Encoder(tokenizer)
    ids = encoder.encode_prompt(PROFILE, LAST[:1])
    alone = whole_ids(tokenizer, f"<bos><start_of_turn>user\n{PROFILE}")
    assert ids[: len(alone)] != alone
    assert ids[: len(alone) - 1] == alone[:-1]
    assert any(token.startswith(".\n\nW") for token in tokenizer.convert_ids_to_tokens(ids))
    ends = {tuple(sample.prompt_ids[len(alone) - 1 : len(alone) + 1]) for sample in seam_samples(encoder)}
    assert len(ends) > 3


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("families")
    return {family: make_pair(folder / family, family) for family in FAMILIES}


def make_dialogues(count: int = 12) -> list[list[Turn]]:
    """One to three exchanges, of many lengths."""
    exchanges = [
        (Turn("user", "Who are you? " * (number % 4)), Turn("assistant", "Ask " + "the boats " * (number * 3 % 7)))
        for number in range(count + 2)
    ]
    return [[turn for pair in exchanges[number : number + 1 + number % 3] for turn in pair] for number in range(count)]


@each_family
@pytest.mark.parametrize("max_batch_tokens", [1, 1500, 100_000])
def test_scores_and_flags_are_those_of_the_naive_run(
    pairs: dict[str, Pair], family: Architecture, max_batch_tokens: int
) -> None:
    ours, naive, encoder = [], [], Encoder(pairs[family].ours.tokenizer)
    for system in build_contexts("Keeper", PROFILE).scored:
        samples = [encoder.encode(system, dialogue) for dialogue in make_dialogues()]
        ours.append(means_of(response_logprobs(pairs[family].ours.model, samples, max_batch_tokens)))
        naive.append(naive_means(pairs[family].naive, samples))
        torch.testing.assert_close(ours[-1], naive[-1], atol=1e-4, rtol=0)
    rewards, naive_rewards = (implicit_rewards(*means) for means in (ours, naive))
    # Whatever a random model's margins are, some are above their mean and some below.
    middle = (naive_rewards.s_unsafe_B - naive_rewards.s_role_B).mean().item()
    flags_B, naive_flags_B = (select_harmful(*both, middle) for both in (rewards, naive_rewards))
    assert torch.equal(flags_B, naive_flags_B)
    assert 0 < int(flags_B.sum()) < len(flags_B)


@each_family
def test_softcapped_and_sliding_attention_runs_in_padded_batches_and_all_other_in_packed_rows(
    pairs: dict[str, Pair], family: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways are among the scores that these tests compare."""
    padded = []

    def watched(samples: Sequence[EncodedSample], pad_id: int, device: torch.device | str) -> Batch:
        padded.append(len(samples))
        return collate(samples, pad_id, device)

    monkeypatch.setattr("rolekeeper.lm.forward.collate", watched)
    encoder = Encoder(pairs[family].ours.tokenizer)
    response_logprobs(pairs[family].ours.model, [encoder.encode(PROFILE, turns) for turns in make_dialogues()])
    assert sum(padded) == (12 if family == "gemma2" else 0)


def test_scores_are_those_of_the_naive_run_where_tokens_reach_across_the_seam(pairs: dict[str, Pair]) -> None:
    pair = pairs["gemma2"]
    samples = seam_samples(Encoder(pair.ours.tokenizer))
    ours = means_of(response_logprobs(pair.ours.model, samples))
    torch.testing.assert_close(ours, naive_means(pair.naive, samples), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gemma2", {"sliding_window": 4096}),
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": None}),
        ("llama3", {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}),
    ],
)
def test_each_of_the_models_own_ways_shows_in_the_scores(
    pairs: dict[str, Pair], family: Architecture, changes: dict[str, object]
) -> None:
    """Else the tests above would pass without them."""
    pair = pairs[family]
    samples = [Encoder(pair.ours.tokenizer).encode(PROFILE * 3, dialogue) for dialogue in make_dialogues(4)]
    without = AutoModelForCausalLM.from_pretrained(pair.ours.entry.location, **changes).eval()
    far_B = (naive_means(without, samples) - naive_means(pair.naive, samples)).abs()
    assert bool((far_B > 0.01).all())


@pytest.mark.parametrize("part", ["q_proj.bias", "k_proj.bias", "v_proj.bias"])
def test_qwens_biases_are_not_zero(pairs: dict[str, Pair], part: str) -> None:
    parameters: list[Tensor] = [x for name, x in pairs["qwen2"].naive.named_parameters() if name.endswith(part)]
    assert len(parameters) == 2
    assert all(float(x.abs().mean()) > 0.1 for x in parameters)
