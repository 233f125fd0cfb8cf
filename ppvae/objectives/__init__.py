"""Objectives: what is optimised, as typed terms a datum."""

from ppvae.objectives.balance import Balance
from ppvae.objectives.consistency import Consistency
from ppvae.objectives.elbo import ELBO, Capacity, Objective
from ppvae.objectives.schedules import Constant, Cosine, Cyclic, Linear, Schedule
from ppvae.objectives.supervision import Supervision
from ppvae.objectives.terms import Context, Penalty, Term, Terms

__all__ = [
    "ELBO",
    "Balance",
    "Capacity",
    "Consistency",
    "Constant",
    "Context",
    "Cosine",
    "Cyclic",
    "Linear",
    "Objective",
    "Penalty",
    "Schedule",
    "Supervision",
    "Term",
    "Terms",
]
