"""Small longitudinal problems, and the same models in dense float64 algebra."""

from __future__ import annotations

import torch
from torch import Tensor

from ppvae.gp.additive import AdditivePrior

KERNEL = (
    "rbf(age) + cat(id) + rbf(age)*cat(id) + rbf(age)*cat(sex) + rbf(disease)*obs(disease)"
    " + matern(disease)*obs(disease)*cat(id)"
)
L = 3


def columns(sizes=(5, 1, 3, 4, 2, 7)) -> dict[str, Tensor]:
    """Subjects of different sizes in random order; half of them without a disease's age."""
    ids = torch.cat([torch.full((n,), 10 + 3 * p) for p, n in enumerate(sizes)])
    ids = ids[torch.randperm(len(ids))]
    age = 10 * torch.rand(len(ids), dtype=torch.float64)
    disease = torch.where(ids % 2 == 0, age - 5, torch.nan)
    task = torch.arange(len(ids)) % 3
    return {"id": ids, "age": age, "sex": (ids // 3) % 2, "disease": disease, "task": task}


def prior_of(data, *, kernel=KERNEL, **options) -> AdditivePrior:
    """A float64 prior with random variances that has read the data."""
    prior = AdditivePrior(kernel, latent_dim=L, noise=0.2, **options).double()
    with torch.no_grad():
        prior.raw_variances.add_(0.5 * torch.randn_like(prior.raw_variances))
    prior.prepare(data)
    return prior


def fill(prior, loc, scale) -> None:
    """Put encodings into the table and solve."""
    with torch.no_grad():
        prior.table.copy_(loc)
        prior.table_variances.copy_(scale.square())
    prior.solve()
    prior._keep(prior.state()[0])


def dense(prior, data, other=None) -> Tensor:
    """Each term's covariance (J, N, N'), unscaled, term by term and factor by factor."""
    grams = []
    for term in prior.kernel:
        pair = []
        for rows in (data, data if other is None else other):
            pair.append(term.features(rows, "id"))
        gram = pair[0] @ pair[1].mT
        if "id" in term.columns:
            ids = (data if other is None else other)["id"]
            same = (data["id"][:, None] == ids) & (data["id"][:, None] != -1)
            gram = gram * (same | torch.eye(len(gram)).bool() if other is None else same)
        grams.append(gram)
    return torch.stack(grams)


def covariances(prior, data) -> Tensor:
    """The latents' covariances, noise included, (L, N, N)."""
    v = prior.variances().expand(L, -1)
    grams = dense(prior, data)
    eye = torch.eye(len(data["id"]), dtype=torch.float64)
    return torch.einsum("lj,jnm->lnm", v[:, :-1], grams) + v[:, -1:, None] * eye
