r"""Disentanglement: the correspondence between latent dimensions and known factors.

Codes :math:`z` with shape (N, Z) are compared with factors :math:`v` with shape (N, F), integers
for a class and floating-point numbers for a quantity; rows of unknown class, -1, are left out. The
scores measure different properties: MIG and SAP, whether one dimension stands out for each factor;
DCI, whether a dimension depends on one factor (disentanglement), a factor is captured by one
dimension (completeness), and the factors can be predicted at all (informativeness).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.evaluate.probes import is_class, known_rows, score
from ppvae.expected import REAL_ROWS, expect, integer

__all__ = ["DCI", "dci", "mig", "mutual_information_matrix", "sap"]


@dataclass(frozen=True)
class DCI:
    """The DCI scores, each between 0 and 1; larger is better.

    Attributes:
        disentanglement: Degree to which each latent is important for a single factor.
        completeness: Degree to which a single latent is important for each factor.
        informativeness: Accuracy, or R2, with which the latents predict the factors.
        importance: Importance of each latent for each factor, with shape (Z, F).
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Tensor


def _checked(codes: Tensor, factors: Tensor, *, least: int) -> list[tuple[Tensor, Tensor]]:
    """For each factor, the codes and its values in the rows where it is known."""
    expect(REAL_ROWS, codes=codes, factors=factors)
    factors = factors.unsqueeze(-1) if factors.dim() == 1 else factors
    if codes.dim() != 2 or factors.dim() != 2 or len(codes) != len(factors):
        raise ArgumentError(
            f"codes and factors: expected shapes (N, Z) and (N, F); got {tuple(codes.shape)} and "
            f"{tuple(factors.shape)}. Draw both from the same rows."
        )
    if codes.size(1) < least or len(codes) < 10:
        raise ArgumentError(
            f"codes: expected at least {least} dimensions and 10 rows; got {tuple(codes.shape)}. "
            "Use a larger latent, or more data."
        )
    columns = [known_rows(codes.detach().cpu(), column.cpu()) for column in factors.unbind(1)]
    if any(len(column) < 10 for _, column in columns):
        raise ArgumentError(
            f"factors: expected at least 10 known rows of each; got "
            f"{[len(column) for _, column in columns]} (-1 is an unknown class). Label more."
        )
    if any(column.unique().numel() < 2 for _, column in columns):
        raise ArgumentError(
            "factors: expected columns that vary; got a constant one. Leave it out."
        )
    return columns


def _levels(column: Tensor, bins: int) -> np.ndarray:
    """The levels of a column: classes unchanged, quantities in bins of equal width."""
    expect(integer(2), bins=bins)
    if is_class(column):
        return column.numpy()
    values = column.double()
    low, high = values.min(), values.max()
    width = (high - low).clamp_min(torch.finfo(values.dtype).tiny)
    levels: np.ndarray = ((values - low) / width * bins).long().clamp_max(bins - 1).numpy()
    return levels


def mutual_information_matrix(codes: Tensor, factors: Tensor, *, bins: int = 20) -> Tensor:
    """I(z_i; v_j) in nats from histograms of equal width, with shape (Z, F).

    Arguments:
        codes: Codes, with shape (N, Z).
        factors: Factors, with shape (N, F).
        bins: Number of bins of each histogram.
    """
    from sklearn.metrics import mutual_info_score

    information = []
    for values, column in _checked(codes, factors, least=1):
        levels = _levels(column, bins)
        dims = [_levels(dim.double(), bins) for dim in values.unbind(1)]
        information.append([mutual_info_score(levels, dim) for dim in dims])
    return torch.tensor(information).mT


def mig(codes: Tensor, factors: Tensor, *, bins: int = 20) -> float:
    r"""The mutual information gap: the lead of the best dimension, as a share of the entropy.

    .. math::
        \frac1F \sum_j \frac{I(z_{(1)}; v_j) - I(z_{(2)}; v_j)}{H(v_j)}

    Arguments:
        codes: z, with shape (N, Z), Z at least 2.
        factors: v, with shape (N, F) or (N).
        bins: Number of bins of the histograms of codes and of floating-point factors.

    References:
        | Isolating Sources of Disentanglement in VAEs (Chen et al., 2018)
        | https://arxiv.org/abs/1802.04942
    """
    from sklearn.metrics import mutual_info_score

    columns = _checked(codes, factors, least=2)
    information = mutual_information_matrix(codes, factors, bins=bins)
    levels = [_levels(column, bins) for _, column in columns]
    entropy = torch.tensor([mutual_info_score(v, v) for v in levels])
    first, second = information.topk(2, dim=0).values
    return float(((first - second) / entropy).mean())


def sap(codes: Tensor, factors: Tensor) -> float:
    """The gap in linear prediction between the two dimensions that predict a factor best.

    Each dimension predicts alone. For a class, the score is the accuracy of a logistic regression
    on half of the rows, trained on the other half; for a quantity, R2. (The paper uses a linear
    support vector machine for classes.)

    Arguments:
        codes: z, with shape (N, Z), Z at least 2.
        factors: v, with shape (N, F) or (N).

    References:
        | Variational Inference of Disentangled Latent Concepts from Unlabeled Observations
        | (Kumar, Sattigeri and Balakrishnan, 2018), https://arxiv.org/abs/1711.00848
    """
    gaps = []
    for values, column in _checked(codes, factors, least=2):
        scores = torch.tensor([_alone(dim[:, None], column) for dim in values.unbind(1)])
        first, second = scores.topk(2).values
        gaps.append(float(first - second))
    return sum(gaps) / len(gaps)


def _alone(dim: Tensor, column: Tensor) -> float:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    method = LogisticRegression(max_iter=1000) if is_class(column) else LinearRegression()
    return max(0.0, score(method, dim, column))


def dci(codes: Tensor, factors: Tensor, *, trees: int = 50, seed: int = 0) -> DCI:
    r"""Disentanglement, completeness and informativeness, from the importances of forests.

    With :math:`R_{ij}` the importance of dimension i for factor j, and rows and columns of R
    made to sum to one, disentanglement is :math:`\sum_i \rho_i (1 - H_F(R_{i \cdot}))` with
    :math:`\rho_i` a dimension's share of all importance, and completeness
    :math:`\frac1F \sum_j (1 - H_Z(R_{\cdot j}))`, entropies to the base of the number of
    entries. Informativeness is the mean accuracy, or R2, on held-out rows.

    Arguments:
        codes: z, with shape (N, Z), Z at least 2.
        factors: v, with shape (N, F) or (N); disentanglement is NaN unless F is at least 2.
        trees: Number of trees in each forest.
        seed: Random seed of the forests.

    Raises:
        ArgumentError: If the shapes are others, lengths differ, N is below 10, Z is below 2, a
            factor is constant, or a number is out of its range.

    References:
        | A Framework for the Quantitative Evaluation of Disentangled Representations
        | (Eastwood and Williams, 2018), https://openreview.net/forum?id=By-7dz-AZ
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    expect(integer(1), "Use 50.", trees=trees)
    expect(integer(0, 2**32 - 1), "Use 0.", seed=seed)
    importances, informativeness = [], []
    for values, column in _checked(codes, factors, least=2):
        family = RandomForestClassifier if is_class(column) else RandomForestRegressor
        # Each split uses all dimensions: among a random few, wrong ones would gain importance.
        forest = family(n_estimators=trees, max_features=None, random_state=seed)
        informativeness.append(max(0.0, score(forest, values, column)))
        importances.append(torch.as_tensor(forest.feature_importances_))
    importance = torch.stack(importances, 1)
    several = importance.size(1) > 1
    share = importance.sum(1) / importance.sum().clamp_min(1e-12)
    return DCI(
        disentanglement=float((share * (1 - _entropy(importance))).sum()) if several else math.nan,
        completeness=float((1 - _entropy(importance.T)).mean()),
        informativeness=sum(informativeness) / len(informativeness),
        importance=importance,
    )


def _entropy(rows: Tensor) -> Tensor:
    """The entropy to base K of each row, normalised to sum to one: (R, K) to (R).

    It is one for a row of zeros, in which nothing stands out.
    """
    if rows.size(1) < 2:
        return torch.zeros(len(rows), dtype=rows.dtype)
    total = rows.sum(1, keepdim=True)
    probs = torch.where(total > 0, rows / total.clamp_min(1e-12), 1 / rows.size(1))
    return -torch.special.xlogy(probs, probs).sum(1) / np.log(rows.size(1))
