r"""Ensembles: members trained from different seeds, and how far they agree on classes.

A latent class has no name: what one member calls 3 another calls 7. Members are aligned by the
permutation of their classes that agrees best with the others on the same data (Hungarian
matching), then averaged:

.. math::
    \bar q_{nk} = \frac1M \sum_m q_m(y_n = \pi_m(k)), \qquad
    d_n = \sqrt{\tfrac1M \sum_{mk} \left(q_m(y_n = \pi_m(k)) - \bar q_{nk}\right)^2}

A class that every member finds is stable; one that comes and goes says that there are too many.
"""

from ppvae.ensembles.agreement import Agreement, agreement
from ppvae.ensembles.members import Ensemble, class_probs, fit_ensemble
from ppvae.ensembles.saved import load
from ppvae.ensembles.stacked import Stacked

__all__ = ["Agreement", "Ensemble", "Stacked", "agreement", "class_probs", "fit_ensemble", "load"]
