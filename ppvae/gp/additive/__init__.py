"""Additive GP priors over named columns, with exact weights of each subject's own."""

from ppvae.gp.additive.arrow import Arrow, Blocks, Scales
from ppvae.gp.additive.decompose import (
    Contribution,
    contribution,
    decompose,
    share_table,
    shares,
)
from ppvae.gp.additive.distribution import AdditiveGP
from ppvae.gp.additive.factors import (
    RBF,
    Categorical,
    Constant,
    Factor,
    Linear,
    Matern,
    Observed,
    SpectralMixture,
)
from ppvae.gp.additive.free_form import FreeForm
from ppvae.gp.additive.leaving import leave_subjects_out, leave_visits_out
from ppvae.gp.additive.objective import LeaveVisitsOut
from ppvae.gp.additive.periodic import Periodic
from ppvae.gp.additive.prior import AdditivePrior
from ppvae.gp.additive.terms import Additive, Term, parse
from ppvae.gp.additive.update import given_visits, with_visits
from ppvae.gp.additive.visits import Visits

__all__ = [
    "RBF",
    "Additive",
    "AdditiveGP",
    "AdditivePrior",
    "Arrow",
    "Blocks",
    "Categorical",
    "Constant",
    "Contribution",
    "Factor",
    "FreeForm",
    "LeaveVisitsOut",
    "Linear",
    "Matern",
    "Observed",
    "Periodic",
    "Scales",
    "SpectralMixture",
    "Term",
    "Visits",
    "contribution",
    "decompose",
    "given_visits",
    "leave_subjects_out",
    "leave_visits_out",
    "parse",
    "share_table",
    "shares",
    "with_visits",
]
