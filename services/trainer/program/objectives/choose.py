"""Which objective a method and its options have."""

from __future__ import annotations

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.training import TrainSpec
from services.trainer.program.data import TrainingData
from services.trainer.program.objectives.divergence import KlLoss
from services.trainer.program.objectives.official import OfficialLoss
from services.trainer.program.objectives.parts import AnchorKl, AnchorTurns, HarmfulKl, Together
from services.trainer.program.objectives.rbo import KlTerm, RboLoss, kl_term
from services.trainer.program.objectives.step import Objective
from services.trainer.program.objectives.surgery import Surgery
from services.trainer.program.objectives.vaccine import VaccineLoss
from services.trainer.program.policy import Policy, trained_weights


def objective_of(policy: Policy, data: TrainingData, spec: TrainSpec) -> Objective:
    """Return what the steps of this run minimise."""
    method, max_tokens = spec.method, spec.max_batch_tokens
    term = kl_term(method)
    anchors = [_anchors(policy, data, spec)] if data.anchors and method.options.kl_limit is None else []
    if method.options.surgery:
        safety = [_flagged(policy, data, term, max_tokens)] if term.weight else []
        task = _on_samples(policy, data, method, term._replace(weight=0.0), max_tokens)
        return Surgery([*trained_weights(policy).values()], task, Together([*safety, *anchors]))
    on_samples = _on_samples(policy, data, method, term, max_tokens)
    return Together([on_samples, *anchors]) if anchors else on_samples


def _on_samples(policy: Policy, data: TrainingData, method: Method, term: KlTerm, max_tokens: int) -> Objective:
    if method.name == "vaccine":
        return VaccineLoss(policy, data, method.options.rho, max_tokens)
    if method.options.compat == "official":
        return OfficialLoss(policy, data, term, max_tokens)
    return RboLoss(policy, data, term, max_tokens)


def _flagged(policy: Policy, data: TrainingData, term: KlTerm, max_tokens: int) -> HarmfulKl:
    return HarmfulKl(KlLoss(policy, data, term, max_tokens), data.harmful, term.weight)


def _anchors(policy: Policy, data: TrainingData, spec: TrainSpec) -> AnchorKl:
    options = spec.method.options
    term = kl_term(spec.method)._replace(weight=options.anchor_weight)
    samples = TrainingData(data.anchors, (True,) * len(data.anchors))
    turns = AnchorTurns(len(data.anchors), options.anchors_per_step, spec.hyperparameters.seed)
    by_decision = options.anchor_kl == "decision"
    kl = KlLoss(policy, samples, term, spec.max_batch_tokens, by_decision=by_decision)
    return AnchorKl(kl, turns, options.anchor_weight)
