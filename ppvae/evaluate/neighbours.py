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
from torch import Tensor

from ppvae.errors import ArgumentError
from ppvae.expected import REAL_ROWS, SEQUENCE, expect, integer

__all__ = ["Neighbours", "knn_overlap", "neighbours"]


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


def knn_overlap(data: Tensor, codes: Tensor, *, k: int = 10) -> float:
    """The mean share of a datum's k nearest neighbours that data and codes have in common.

    Arguments:
        data: With shape (N, ...).
        codes: With shape (N, ...).
        k: Neighbours, less than half of N.
    """
    from sklearn.neighbors import NearestNeighbors

    _checked(data, codes, k)
    first, second = (
        NearestNeighbors(n_neighbors=k).fit(_rows(values)).kneighbors(return_distance=False)
        for values in (data, codes)
    )
    shared = [len(np.intersect1d(a, b)) for a, b in zip(first, second, strict=True)]
    return float(np.mean(shared)) / k


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
