"""Which objective a method has."""

from __future__ import annotations

from rolekeeper.contracts.training import TrainSpec
from services.trainer.program.data import TrainingData
from services.trainer.program.objectives.rbo import RboLoss, kl_term
from services.trainer.program.objectives.step import Objective
from services.trainer.program.objectives.vaccine import VaccineLoss
from services.trainer.program.policy import Policy


def objective_of(policy: Policy, data: TrainingData, spec: TrainSpec) -> Objective:
    """Return what the steps of this run minimise."""
    if spec.method.name == "vaccine":
        return VaccineLoss(policy, data, spec.method.options.rho, spec.max_batch_tokens)
    return RboLoss(policy, data, kl_term(spec.method), spec.max_batch_tokens)
