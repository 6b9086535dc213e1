"""The model card of an adapter, or of a whole model."""

from __future__ import annotations

from collections.abc import Sequence

from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.catalog import ModelEntry
from services.trainer.program.data import TrainingData

_CARD = """\
---
base_model: {base_model}
base_model_relation: adapter
library_name: peft
pipeline_tag: text-generation
license: {license}
tags:
- lora
- roleplay
- {method}
- base_model:adapter:{base_model}
---

# {name}

A LoRA adapter for `{base_model}` that plays the character {name}, made with Rolekeeper.

## How it was trained

{how}

| hyperparameter | value |
| --- | --- |
{rows}

Losses, digests of the base model and of the data, and the system prompt are in `MANIFEST.json`.

## How to load it

{load}
Engines that serve many adapters need a rank limit of at least {rank} (vLLM: `--max-lora-rank {rank}`).
{context}

## Limits

- Safe answers are made more likely by the training, and are not promised. See the safety report of the job: it compares
  refusal, over-refusal and role fidelity of the base model and of this adapter, with intervals.
- The adapter fits the base model named above and no other. The character may say what is not true.
- The license is that of the base model. The dialogues that it was trained on may carry terms of their own.
"""

_MODEL_CARD = """\
---
base_model: {base_model}
base_model_relation: finetune
library_name: transformers
pipeline_tag: text-generation
license: {license}
tags:
- roleplay
- {method}
---

# {name}

`{base_model}` with all of its weights trained to play the character {name}, made with Rolekeeper.

## How it was trained

{how}

| hyperparameter | value |
| --- | --- |
{rows}

Losses, digests of the base model and of the data, and the system prompt are in `MANIFEST.json`.

## How to load it

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("<this folder>")
tokenizer = AutoTokenizer.from_pretrained("<this folder>")
```
{context}

## Limits

- Safe answers are made more likely by the training, and are not promised. See the safety report of the job: it compares
  refusal, over-refusal and role fidelity of the base model and of this model, with intervals.
- It was trained from base weights with the digest `{base_digest}`. The character may say what is not true.
- The license is that of the base model. The dialogues that it was trained on may carry terms of their own.
"""

_ANCHORED = """\
By {name} on {num_samples} dialogues: cross-entropy on all of them, and {direction} KL divergence to
the base model, weighted {kl_weight}, on {subset}."""

_NAMES = {
    "sarft": "SaRFT (arXiv 2502.20968)",
    "random": "a control",
    "flip": "a control",
    "all": "a control",
    "seal": "RBO with the selection of SEAL (arXiv 2410.07471)",
    "bi_selection": "RBO with Bi-Selection (arXiv 2404.01099)",
}

_SUBSETS = {
    "sarft": "the {num_anchored} of them that are more likely under the unsafe prompt than\nunder the role prompt",
    "random": "{num_anchored} of them that were drawn at random, as many as are harmful for the role",
    "flip": "the {num_anchored} of them that are not harmful for the role",
    "all": "all {num_anchored} of them",
    "seal": "the {num_anchored} of them that go least with safe answers",
    "bi_selection": "the {num_anchored} of them whose gradients are nearest to those of harmful answers",
}

_EVERY_TURN = """
Every response of a dialogue is learned as a sample of its own; here they are called dialogues: {num_samples}."""

_CUT = """
Of {num_truncated} responses only the first {limit} tokens were learned, and not that they end: it may run on."""

_SFT = """\
By supervised fine-tuning on {num_samples} dialogues: cross-entropy on all of them, with no sample held to
the base model."""

_UNANCHORED = {
    "sft": "",
    "seal_filter": " What goes least with\nsafe answers was left out before, as SEAL (arXiv 2410.07471) does.",
    "sppft": " The safety layers were\nnot trained, as in SPPFT (arXiv 2408.17003).",
    "vaccine": " The attention outputs\nwere shifted against it in every step, as in Vaccine (arXiv 2402.01109).",
}

_PROMPTS = """
Besides, KL divergence to the base model, weighted {weight}, on {held} short prompts."""

_HELD = {"tokens": "{first}its own answers to", "decision": "how likely it is to refuse (by {first}its refusals), for"}

_WEIGHED_TOKENS = """
Each token counted in the KL divergence by how much rather the unsafe prompt says it than the role prompt."""

_OFFICIAL = """
CE and KL of a dialogue were divided by the length of prompt and response, and KL was taken at all of their positions,
as in SaRFT's released code."""

_SURGERY = """
Of the gradient of cross-entropy, what pulled against that of the KL divergence was taken away
(SafeGrad, arXiv 2508.07172)."""

_LIMITED = """\
By {name} on {num_samples} dialogues: cross-entropy on all of them. Where the {direction} KL divergence to
the base model was above {limit} nats a token after a step, the weights went back towards it (SPAG). It was
measured on a few at a time of {anchored}.
What it was in the end is in `MANIFEST.json` (`anchor_kl`)."""

_OWN_ANSWERS = "the base model's own answers to short prompts"

_VALIDATION = """

After each epoch, the loss of {num_held} more dialogues, which were not trained on, in nats per response token:
{losses}.{kept}"""

_BEST_EPOCH = " The weights are those of the best epoch."

_LOAD = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{base_model}"{revision})
model = PeftModel.from_pretrained(base, "<this folder>")
```
"""

_LOAD_MERGED = """\
**This adapter must be loaded over an aligned base model**, not over the model that it was made from: `{base_model}` is
a base model with an adapter merged into its weights (sha256 of that adapter's weights: `{merged_sha256}`;
digest of the whole base model: `{base_digest}`). Rolekeeper has it under the alias `{alias}`:

```python
from peft import PeftModel
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base

base = load_base(find_entry(load_catalog(), "{alias}")).model
model = PeftModel.from_pretrained(base, "<this folder>")
```
"""


def render_card(
    spec: TrainSpec,
    entry: ModelEntry,
    data: TrainingData,
    base_digest: str,
    merged_sha256: str | None,
    curve: Sequence[float] = (),
) -> str:
    """Return the README.md of an adapter; `merged_sha256` is that of the adapter inside the base model, if any.

    `curve` are the validation losses after each epoch, in nats per response token.
    """
    hyper = spec.hyperparameters
    load = _load(entry, base_digest, merged_sha256)
    return _CARD.format(**_facts(spec, entry, data, curve), load=load, rank=hyper.lora_rank)


def render_model_card(
    spec: TrainSpec, entry: ModelEntry, data: TrainingData, base_digest: str, curve: Sequence[float] = ()
) -> str:
    """Return the README.md of a model whose weights were all trained; `curve` as for an adapter."""
    return _MODEL_CARD.format(**_facts(spec, entry, data, curve), base_digest=base_digest)


def _facts(spec: TrainSpec, entry: ModelEntry, data: TrainingData, curve: Sequence[float]) -> dict[str, str]:
    hyper = spec.hyperparameters
    return {
        "base_model": entry.public_id,
        "license": entry.license.lower(),
        "method": spec.method.name,
        "name": " ".join(spec.profile.name.split()),
        "how": _how(spec, data) + _lengths(spec, data) + _validation(spec, data, curve),
        "rows": _rows([*hyper.model_dump(mode="json").items()]),
        "context": "It was trained with the role profile as system prompt: serve it with the same."
        if hyper.context is Context.ROLE
        else "It was trained with an empty system turn: the character is in the weights.",
    }


def _how(spec: TrainSpec, data: TrainingData) -> str:
    method, num_samples = spec.method, len(data.training)
    options = method.options
    if options.kl_limit is not None:
        return _limited(method, data)
    more = "" if options.anchors == "harmful" else _on_prompts(options)
    more += _WEIGHED_TOKENS if options.weigh_tokens == "margin" else ""
    more += _OFFICIAL if options.compat == "official" else ""
    more += _SURGERY if options.surgery else ""
    if method.name in _UNANCHORED or options.anchors == "prompts":
        return _SFT.format(num_samples=num_samples) + _UNANCHORED.get(method.name, "") + more
    anchored = _ANCHORED.format(
        name=_NAMES[method.name],
        num_samples=num_samples,
        direction=method.kl_direction,
        kl_weight=method.kl_weight,
        subset=_SUBSETS[method.name].format(num_anchored=sum(data.harmful)),
    )
    return anchored + more


def _lengths(spec: TrainSpec, data: TrainingData) -> str:
    hyper = spec.hyperparameters
    every = _EVERY_TURN.format(num_samples=len(data.training)) if hyper.learned_turns == "all" else ""
    return every + (
        _CUT.format(num_truncated=data.num_truncated, limit=hyper.max_response_tokens) if data.num_truncated else ""
    )


def _on_prompts(options: MethodOptions) -> str:
    first = "" if options.anchor_first_tokens is None else f"the first {options.anchor_first_tokens} tokens of "
    return _PROMPTS.format(weight=options.anchor_weight, held=_HELD[options.anchor_kl].format(first=first))


def _limited(method: Method, data: TrainingData) -> str:
    anchored = [_SUBSETS[method.name].format(num_anchored=sum(data.harmful))] if method.anchors_samples else []
    told = _LIMITED.format(
        name=_NAMES.get(method.name, "supervised fine-tuning"),
        num_samples=len(data.training),
        direction=method.kl_direction,
        limit=method.options.kl_limit,
        anchored=" and of ".join([*anchored, *([_OWN_ANSWERS] if data.anchors else [])]),
    )
    weighed = _WEIGHED_TOKENS if method.options.weigh_tokens == "margin" else ""
    return told + _UNANCHORED.get(method.name, "") + weighed


def _validation(spec: TrainSpec, data: TrainingData, curve: Sequence[float]) -> str:
    if not curve:
        return ""
    losses = ", ".join(f"{loss:.3f}" for loss in curve)
    kept = "" if spec.hyperparameters.early_stop_epochs is None else _BEST_EPOCH
    return _VALIDATION.format(num_held=len(data.validation), losses=losses, kept=kept)


def _rows(values: Sequence[tuple[str, object]]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in values)


def _load(entry: ModelEntry, base_digest: str, merged_sha256: str | None) -> str:
    if merged_sha256 is None:
        revision = f', revision="{entry.revision}"' if entry.revision else ""
        return _LOAD.format(base_model=entry.public_id, revision=revision)
    return _LOAD_MERGED.format(
        base_model=entry.public_id, alias=entry.alias, base_digest=base_digest, merged_sha256=merged_sha256
    )
