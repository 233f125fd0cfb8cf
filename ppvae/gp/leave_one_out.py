r"""The GP's prediction of each training latent from all others, in closed form.

With :math:`h_n = f_n^\top A^{-1} f_n` and :math:`[K^{-1}]_{nn} = (1 - h_n / v_1) / v_1`,

.. math::
    z_n^{-n} \sim N\left(\mu_n - \frac{\mu_n - f_n \cdot m}{1 - h_n / v_1}, \;
        \frac{v_1}{1 - h_n / v_1}\right)

One solution of the GP serves all N; nothing is refitted.

References:
    | Gaussian Processes for Machine Learning, section 5.4.2 (Rasmussen and Williams, 2006)
    | http://gaussianprocess.org/gpml
"""

from __future__ import annotations

import pyro.distributions as dist
import torch

from ppvae.borders import typed
from ppvae.expected import at_least
from ppvae.gp.features import kronecker_rows
from ppvae.gp.prior import GPPrior

__all__ = ["leave_one_out"]


@typed(chunk=at_least(1))
@torch.no_grad()
def leave_one_out(prior: GPPrior, *, chunk: int = 4096) -> dist.TorchDistribution:
    """The latents of the training data, each given all the others' encodings.

    Arguments:
        prior: A GP prior with its training data, trained or settled; predictions are made from its
            table of encodings.
        chunk: Rows at a time.

    Returns:
        A normal with shape (N | L), in float64, in the order of the training data.

    Raises:
        RuntimeError: If the prior has no training data yet.
    """
    state = prior.state()
    layout = prior.layout
    assert layout is not None
    x, r = prior.objects(layout.objects), prior.views(layout.views)
    v0, v1 = prior.variances()
    locs, scales = [], []
    for rows in torch.arange(layout.num_rows, device=x.device).split(chunk):
        f = v0.sqrt() * kronecker_rows(x[layout.object_codes[rows]], r[layout.view_codes[rows]])
        leverage = ((f @ state.covariance) * f).sum(-1, keepdim=True)
        kept = (1 - leverage / v1).clamp_min(1e-9)
        encoded = prior.table[rows].to(f)
        locs.append(encoded - (encoded - f @ state.mean) / kept)
        scales.append((v1 / kept).sqrt().expand_as(encoded))
    return dist.Normal(torch.cat(locs), torch.cat(scales)).to_event(1)
