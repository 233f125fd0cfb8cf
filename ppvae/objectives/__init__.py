"""Objectives of training, as typed terms per datum."""

from ppvae.objectives.balance import Balance
from ppvae.objectives.consistency import Consistency
from ppvae.objectives.critics import Critic, JointCritic, SeparableCritic, critic_between
from ppvae.objectives.elbo import ELBO, Objective
from ppvae.objectives.estimators import (
    MINE,
    NWJ,
    SMILE,
    DonskerVaradhan,
    Estimator,
    InfoNCE,
)
from ppvae.objectives.independence import Independence, dependence
from ppvae.objectives.information import MutualInformation
from ppvae.objectives.measuring import information_of, measure, train_critic
from ppvae.objectives.rotations import RotationSearch
from ppvae.objectives.schedules import (
    Capacity,
    Constant,
    Cosine,
    Cyclic,
    Linear,
    Schedule,
    zero_from,
)
from ppvae.objectives.shards import ALONE, Shards
from ppvae.objectives.supervision import Supervision
from ppvae.objectives.terms import Context, Penalty, Term, Terms

__all__ = [
    "ALONE",
    "ELBO",
    "MINE",
    "NWJ",
    "SMILE",
    "Balance",
    "Capacity",
    "Consistency",
    "Constant",
    "Context",
    "Cosine",
    "Critic",
    "Cyclic",
    "DonskerVaradhan",
    "Estimator",
    "Independence",
    "InfoNCE",
    "JointCritic",
    "Linear",
    "MutualInformation",
    "Objective",
    "Penalty",
    "RotationSearch",
    "Schedule",
    "SeparableCritic",
    "Shards",
    "Supervision",
    "Term",
    "Terms",
    "critic_between",
    "dependence",
    "information_of",
    "measure",
    "train_critic",
    "zero_from",
]
