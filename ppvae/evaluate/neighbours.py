r"""Preservation of neighbourhoods: are neighbours in the data neighbours among the codes?

With :math:`r(i, j)` the rank of j among the neighbours of i in the data and :math:`U_k(i)` those
among the k nearest in the representation that are not among the k nearest in the data,

.. math::
    \mathrm{trustworthiness}(k) = 1 - \frac{2}{N k (2N - 3k - 1)}
        \sum_i \sum_{j \in U_k(i)} (r(i, j) - k)

Continuity is the same with data and representation exchanged. Trustworthiness is high if
neighbours in the representation are neighbours in the data; continuity, if neighbours in the data
are neighbours in the representation.

References:
    | Local Multidimensional Scaling (Venna and Kaski, 2006), Neural Networks 19
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.expected import REAL_ROWS, SEQUENCE, expect, integer

__all__ = ["Neighbours", "kept_neighbours", "knn_overlap", "neighbours"]


@dataclass(frozen=True)
class Neighbours:
    """Scores by number of neighbours k, each between 0 and 1.

    Attributes:
        trustworthiness: Degree to which neighbours among the codes are neighbours in the data.
        continuity: Degree to which neighbours in the data are neighbours among the codes.
        overlap: Share of neighbours that are the same in both.
    """

    trustworthiness: dict[int, float]
    continuity: dict[int, float]
    overlap: dict[int, float]


def _rows(values: Tensor) -> np.ndarray:
    rows: np.ndarray = values.detach().cpu().flatten(1).double().numpy()
    return rows


def _checked(data: Tensor, codes: Tensor, k: int) -> None:
    expect(integer(1), k=k)
    expect(REAL_ROWS, data=data, codes=codes)
    if len(data) != len(codes) or not 1 <= k < len(codes) / 2:
        raise ArgumentError(
            f"neighbours: expected data and codes of one length N and 1 <= k < N / 2; got lengths "
            f"{len(data)} and {len(codes)}, k {k}. Use a smaller k, or more rows."
        )


def kept_neighbours(data: Tensor, codes: Tensor, *, k: int = 10) -> Tensor:
    """For each datum, the share of its k nearest neighbours that data and codes have in common.

    Unlike the scores of :func:`neighbours`, it says where in latent space neighbourhoods are kept.
    Among N - 1 others at random, the share is k / (N - 1) on average.

    Arguments:
        data: Data, with shape (N, ...).
        codes: Codes, with shape (N, ...).
        k: Number of neighbours, less than half of N.

    Returns:
        Shares between 0 and 1, with shape (N), on the CPU in float64.

    Raises:
        ArgumentError: If lengths differ, or k is half of N or more.
    """
    from sklearn.neighbors import NearestNeighbors

    _checked(data, codes, k)
    first, second = (
        NearestNeighbors(n_neighbors=k).fit(_rows(values)).kneighbors(return_distance=False)
        for values in (data, codes)
    )
    shared = [len(np.intersect1d(a, b)) for a, b in zip(first, second, strict=True)]
    return torch.tensor(shared, dtype=torch.float64) / k


def knn_overlap(data: Tensor, codes: Tensor, *, k: int = 10) -> float:
    """The mean over the data of :func:`kept_neighbours`.

    Arguments:
        data: Data, with shape (N, ...).
        codes: Codes, with shape (N, ...).
        k: Number of neighbours, less than half of N.

    Raises:
        ArgumentError: As for :func:`kept_neighbours`.
    """
    return float(kept_neighbours(data, codes, k=k).mean())


def neighbours(data: Tensor, codes: Tensor, *, ks: Sequence[int] = (5, 10, 20, 50)) -> Neighbours:
    """Trustworthiness, continuity and overlap of k nearest neighbours, for several k.

    Cost and memory grow as N squared: pass a few thousand rows at most.

    Arguments:
        data: Data, with shape (N, ...).
        codes: Codes, with shape (N, ...).
        ks: Numbers of neighbours, each less than half of N.

    Raises:
        ArgumentError: If lengths differ, or a number of neighbours is half of N or more.
    """
    from sklearn.manifold import trustworthiness

    expect(SEQUENCE, "Use (5, 10).", ks=ks)
    for k in ks:
        _checked(data, codes, k)
    x, z = _rows(data), _rows(codes)
    return Neighbours(
        trustworthiness={k: float(trustworthiness(x, z, n_neighbors=k)) for k in ks},
        continuity={k: float(trustworthiness(z, x, n_neighbors=k)) for k in ks},
        overlap={k: knn_overlap(data, codes, k=k) for k in ks},
    )
