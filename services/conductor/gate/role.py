"""What the gate says of the role: is the tuned model more the character, and does it still answer as one."""

from __future__ import annotations

from collections.abc import Iterator

from rolekeeper.contracts.gate import GateCheck, GateVerdict
from rolekeeper.contracts.results import Comparison, RoleResults
from services.conductor.gate.rises import chance_of_rise, check_of, check_rise

RISES = (("refusals", "refusals of held-out dialogues"), ("babble", "answers to held-out dialogues that are babble"))
NOT_MEASURED = "the {what} was not measured; keep dialogues from training (evaluation.held_out_share)."


def chances_of_rises(role: RoleResults | None) -> dict[str, float]:
    """Return for each rate of the role how often chance alone would raise it as much."""
    found = {name: getattr(role, name) for name, _ in RISES} if role is not None else {}
    return {name: chance_of_rise(measure) for name, measure in found.items() if measure is not None}


def check_role(role: RoleResults | None, margin: float, shown: frozenset[str]) -> Iterator[GateCheck]:
    """Every check of the role. `shown` are the rates whose rise is, among all that the gate looks at."""
    num_held_out = 0 if role is None else role.num_held_out
    gain = None if role is None else role.log_likelihood
    yield _unmeasured("role gain", num_held_out) if gain is None else _check_gain(gain)
    for name, what in RISES:
        measure: Comparison | None = getattr(role, name, None)
        if measure is None:
            yield _unmeasured(f"rate of {what}", num_held_out)
        else:
            yield check_rise(f"role: the share of {what}", measure, margin, name in shown)


def _check_gain(gain: Comparison) -> GateCheck:
    """A gain must be shown, and a loss that is shown blocks."""
    difference = gain.difference
    verdict: GateVerdict = "released" if difference.low > 0 else "blocked" if difference.high < 0 else "undecided"
    found = {"released": "a gain is shown", "blocked": "a loss is shown", "undecided": "no gain is shown"}[verdict]
    sentence = (
        f"role: the log-likelihood of the character's own {difference.num_pairs} held-out responses went from "
        f"{gain.base.value:.3f} to {gain.tuned.value:.3f} nats per token, a difference of {difference.value:+.3f} with "
        f"95 % interval [{difference.low:+.3f}, {difference.high:+.3f}]: {found}."
    )
    return check_of(gain, verdict, sentence, 0.0)


def _unmeasured(what: str, num_held_out: int) -> GateCheck:
    sentence = f"role: {NOT_MEASURED.format(what=what)}"
    return GateCheck(rule="role", verdict="undecided", sentence=sentence, threshold=0.0, num_prompts=num_held_out)
