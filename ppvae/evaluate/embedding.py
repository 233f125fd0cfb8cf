"""Embeddings of codes in two dimensions, clusters, and dependencies, through scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppvae.borders import typed
from ppvae.errors import ArgumentError
from ppvae.expected import REAL_ROWS, ROWS, above, at_least, expect, expect_package, integer

__all__ = ["Dependencies", "dependencies", "kmeans", "tsne", "umap"]


def _rows(codes: Tensor, least: int) -> np.ndarray:
    expect(REAL_ROWS, codes=codes)
    if codes.dim() < 2 or len(codes) < least:
        raise ArgumentError(
            f"codes: expected shape (N, ...) with N >= {least}; got {tuple(codes.shape)}. "
            "Pass run.encode(data)['z'] of more data."
        )
    rows: np.ndarray = codes.detach().cpu().flatten(1).double().numpy()
    return rows


@typed(codes=ROWS, perplexity=above(0), seed=at_least(0))
def tsne(codes: Tensor, *, perplexity: float = 30.0, seed: int = 0) -> Tensor:
    """t-SNE of codes (N, Z) in two dimensions: (N, 2).

    Arguments:
        codes: Codes, with shape (N, Z).
        perplexity: Effective number of neighbours, at most (N - 1) / 3.
        seed: Random seed.

    Raises:
        ArgumentError: If the shape is another, N is below 4, or a number is out of its range.

    References:
        | Visualizing Data using t-SNE (van der Maaten and Hinton, 2008), JMLR 9
    """
    from sklearn.manifold import TSNE

    rows = _rows(codes, 4)
    perplexity = min(perplexity, (len(rows) - 1) / 3)
    method = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return torch.as_tensor(method.fit_transform(rows))


@typed(codes=ROWS, neighbours=at_least(2), seed=at_least(0))
def umap(codes: Tensor, *, neighbours: int = 15, seed: int = 0) -> Tensor:
    """UMAP of codes (N, Z) in two dimensions: (N, 2); needs the package ``umap-learn``.

    Arguments:
        codes: Codes, with shape (N, Z).
        neighbours: Number of neighbours.
        seed: Random seed.

    Raises:
        MissingPackageError: If the package is not installed.

    References:
        | UMAP (McInnes, Healy and Melville, 2018), https://arxiv.org/abs/1802.03426
    """
    rows = _rows(codes, 4)
    library = expect_package("umap", "umap", "embedding")
    method = library.UMAP(n_neighbors=min(neighbours, len(rows) - 1), random_state=seed, n_jobs=1)
    return torch.as_tensor(method.fit_transform(rows))


def kmeans(codes: Tensor, clusters: int, *, seed: int = 0) -> Tensor:
    """The k-means cluster of each code, from the best of ten starts, int64 with shape (N).

    Arguments:
        codes: Codes, with shape (N, Z).
        clusters: Number of clusters, at most N.
        seed: Random seed of the starts.

    Raises:
        ArgumentError: If there are fewer codes than clusters, or a number is out of its range.
    """
    from sklearn.cluster import KMeans

    expect(integer(1), clusters=clusters)
    expect(integer(0, 2**32 - 1), "Use 0.", seed=seed)
    rows = _rows(codes, clusters)
    return torch.as_tensor(KMeans(clusters, n_init=10, random_state=seed).fit_predict(rows)).long()


@dataclass(frozen=True)
class Dependencies:
    """The dependencies between Z variables.

    Attributes:
        partial_correlation: Partial correlation of each pair given all others, with
            shape (Z, Z), ones on the diagonal.
        alpha: Penalty, chosen by cross-validation.
    """

    partial_correlation: Tensor
    alpha: float


def dependencies(codes: Tensor) -> Dependencies:
    r"""Direct dependencies between latent dimensions, by the graphical lasso.

    :math:`-P_{ij} / \sqrt{P_{ii} P_{jj}}` of the sparse precision P of the standardised codes.

    Arguments:
        codes: With shape (N, Z), Z at least 2; for dependence across views, the codes of an
            object's views side by side, (objects, views * Z).

    Raises:
        ArgumentError: If a dimension is constant, Z is below 2, or N is below 10.

    References:
        | Sparse inverse covariance estimation with the graphical lasso (Friedman et al., 2008)
    """
    from sklearn.covariance import GraphicalLassoCV
    from sklearn.preprocessing import StandardScaler

    rows = _rows(codes, 10)
    if rows.shape[1] < 2 or not (rows.std(0) > 0).all():
        raise ArgumentError(
            f"codes: expected at least two dimensions, all of which vary; got shape {rows.shape}. "
            "Leave out constant ones."
        )
    lasso = GraphicalLassoCV().fit(StandardScaler().fit_transform(rows))
    precision = torch.as_tensor(lasso.precision_)
    scale = precision.diagonal().sqrt()
    partial = -precision / scale[:, None] / scale
    partial.fill_diagonal_(1.0)
    return Dependencies(partial, float(lasso.alpha_))
